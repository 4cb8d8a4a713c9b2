import numpy as np
from hypothesis import given

from directanimator.cues.alignment import identity_alignment
from directanimator.cues.preview import BODY_COLOR, FACE_COLOR, cue_strip, location_in_color
from directanimator.cues.spec import CueSpec
from directanimator.cues.triplet import driving_cues
from tests.strategies import frames_of, track_of, walks

SIDE = 48


@given(walks())
def test_strip_shows_five_panels_in_order(clip):
    frames, track = frames_of(clip, SIDE), track_of(clip, SIDE)
    cues = driving_cues(frames, track, identity_alignment(), SIDE, CueSpec())
    panels = np.split(cue_strip(frames, track.mask, cues), 5, axis=2)
    np.testing.assert_array_equal(panels[0], frames)
    np.testing.assert_array_equal(panels[1][..., 1], track.mask)
    np.testing.assert_array_equal(panels[2][..., 2], cues.pose_cue)
    np.testing.assert_array_equal(panels[3], cues.face_cue)
    np.testing.assert_array_equal(panels[4], location_in_color(cues))


@given(walks())
def test_face_and_body_have_their_own_colors(clip):
    cues = driving_cues(frames_of(clip, SIDE), track_of(clip, SIDE), identity_alignment(), SIDE, CueSpec())
    picture = location_in_color(cues)
    assert (picture[cues.face_location == 255] == FACE_COLOR).all()
    only_body = (cues.body_location == 255) & (cues.face_location == 0)
    assert (picture[only_body] == BODY_COLOR).all()
    assert not picture[(cues.body_location == 0) & (cues.face_location == 0)].any()
