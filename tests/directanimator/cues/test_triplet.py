from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.cues.alignment import identity_alignment, warped
from directanimator.cues.pose import MID_GRAY
from directanimator.cues.spec import CueSpec, FaceCueSpec, GateSpec, LocationCueSpec, PoseCueSpec, TrustSpec
from directanimator.cues.triplet import DrivingCues, driving_cues, dropped, null_cues
from tests.strategies import Figure, alignments, canvas_sides, cue_specs, figures, frames_of, seeds, track_of, walks

SOURCE, CANVAS = 64, 48
TOLERANT = GateSpec(min_area_ratio=0.1, max_area_ratio=10.0, min_largest_component=0.0)


def cues_of(clip, alignment=None, spec=None, source=SOURCE, size=CANVAS):
    spec = spec or CueSpec(gate=TOLERANT)
    return driving_cues(frames_of(clip, source), track_of(clip, source), alignment or identity_alignment(), size, spec)


def assert_equal_cues(first: DrivingCues, second: DrivingCues) -> None:
    for field in fields(DrivingCues):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name), err_msg=field.name)


@given(walks(), alignments(), canvas_sides(), cue_specs())
def test_cues_have_the_frames_of_the_video_and_the_size_of_the_canvas(clip, alignment, side, spec):
    cues = cues_of(clip, alignment, spec, size=(side, side + 4))
    assert (cues.num_frames, cues.size) == (len(clip), (side, side + 4))


@given(figures())
def test_cues_hardly_depend_on_the_source_resolution(figure):
    large, small = (cues_of([figure], source=side, size=48) for side in (192, 96))
    for name in ("pose_cue", "face_cue", "body_location"):
        difference = np.abs(getattr(large, name).astype(int) - getattr(small, name))
        assert difference.mean() < 2, name
        assert np.quantile(difference, 0.99) < 25, name


@given(walks(), seeds())
def test_background_reaches_neither_pose_nor_location_cue(clip, seed):
    track, frames = track_of(clip, SOURCE), frames_of(clip, SOURCE)
    noise = np.random.default_rng(seed).integers(0, 256, frames.shape, np.uint8)
    elsewhere = np.where(track.mask[..., None] == 0, noise, frames)
    spec = CueSpec(gate=TOLERANT)
    first, second = (driving_cues(f, track, identity_alignment(), CANVAS, spec) for f in (frames, elsewhere))
    np.testing.assert_array_equal(first.pose_cue, second.pose_cue)
    np.testing.assert_array_equal(first.body_location, second.body_location)


@given(walks(), alignments(), seeds())
def test_location_cue_ignores_the_colors_of_the_driver(clip, alignment, seed):
    track, frames = track_of(clip, SOURCE), frames_of(clip, SOURCE)
    recolored = np.random.default_rng(seed).permutation(256).astype(np.uint8)[frames]
    spec = CueSpec(gate=TOLERANT)
    first, second = (driving_cues(f, track, alignment, CANVAS, spec) for f in (frames, recolored))
    np.testing.assert_array_equal(first.body_location, second.body_location)
    np.testing.assert_array_equal(first.face_location, second.face_location)


@given(walks(), alignments())
def test_alignment_leaves_the_face_cue_and_if_told_so_the_pose_cue(clip, alignment):
    spec = CueSpec(gate=TOLERANT, pose=PoseCueSpec(aligned=False))
    aligned, unaligned = cues_of(clip, alignment, spec), cues_of(clip, spec=spec)
    np.testing.assert_array_equal(aligned.pose_cue, unaligned.pose_cue)
    np.testing.assert_array_equal(aligned.face_cue, unaligned.face_cue)


@given(st.integers(3, 6), st.data())
def test_a_frame_that_fails_the_gate_has_no_body(frames, data):
    bad = data.draw(st.integers(0, frames - 1))
    clip = [Figure()] * frames
    track = track_of(clip, SOURCE)
    mask = track.mask.copy()
    mask[bad, :, :4] = 255
    mask[bad, :4] = 255
    cues = driving_cues(frames_of(clip, SOURCE), replace(track, mask=mask), identity_alignment(), CANVAS, CueSpec())
    shown = np.arange(frames) != bad
    np.testing.assert_array_equal(cues.pose_present, shown)
    np.testing.assert_array_equal((cues.pose_cue != 128).any(axis=(1, 2)), shown)
    np.testing.assert_array_equal(cues.body_location.any(axis=(1, 2)), shown)
    assert cues.face_present.all()


@given(st.integers(2, 6), st.data())
def test_masks_that_nets_made_are_believed_as_far_as_they_are_trusted(frames, data):
    """One frame whose detection is unsure, and one clip whose masks a failed net filled; the truth is believed."""
    clip, doubted = [Figure()] * frames, data.draw(st.integers(0, frames - 1))
    track = track_of(clip, SOURCE)
    score = np.where(np.arange(frames) == doubted, np.float32(0.1), np.float32(0.9))
    unsure, filled = replace(track, score=score), replace(track, mask=np.full_like(track.mask, 255))
    told = [
        driving_cues(frames_of(clip, SOURCE), seen, identity_alignment(), CANVAS, CueSpec(), trust=trust).pose_present
        for seen in (unsure, filled)
        for trust in (None, TrustSpec())
    ]
    nobody = np.zeros(frames, np.bool_)
    for found, expected in zip(told, (~nobody, np.arange(frames) != doubted, ~nobody, nobody), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_face_keeps_detail_that_the_canvas_is_too_coarse_for():
    frames = frames_of([Figure()], 128)
    frames[:, :, ::2], frames[:, :, 1::2] = 0, 255
    cues = driving_cues(frames, track_of([Figure()], 128), identity_alignment(), 32, CueSpec())
    assert np.ptp(cues.face_cue) > 150


@given(st.integers(6, 9), st.floats(1, 3))
def test_a_trembling_face_box_trembles_less_in_the_cues(frames, amplitude):
    """Of a still picture; the cue of a single frame knows no neighbors to be steadied by."""
    track, picture = track_of([Figure()] * frames, SOURCE), frames_of([Figure()] * frames, SOURCE)
    box = track.face_box + np.float32(amplitude) * (-1.0) ** np.arange(frames, dtype=np.float32)[:, None]

    def face_of(first: int, last: int) -> np.ndarray:
        part = replace(track, face_box=box).part(slice(first, last))
        return driving_cues(picture[first:last], part, identity_alignment(), CANVAS, CueSpec()).face_cue.astype(float)

    together, alone = face_of(0, frames), np.concatenate([face_of(i, i + 1) for i in range(frames)])
    assert np.abs(np.diff(together, axis=0)).sum() < 0.9 * np.abs(np.diff(alone, axis=0)).sum()


@given(walks(), st.data())
def test_frames_without_a_face_say_so_in_every_field(clip, data):
    seen = np.array(data.draw(st.lists(st.booleans(), min_size=len(clip), max_size=len(clip))), np.bool_)
    track = track_of(clip, SOURCE)
    box = np.where(seen[:, None], track.face_box, np.float32(np.nan))
    cues = driving_cues(frames_of(clip, SOURCE), replace(track, face_box=box), identity_alignment(), CANVAS, CueSpec())
    np.testing.assert_array_equal(cues.face_present, seen)
    np.testing.assert_array_equal(cues.face_location.any(axis=(1, 2)), seen)
    assert (cues.face_cue[~seen] == 128).all()


@given(walks(), cue_specs())
def test_what_is_enabled_does_not_change_the_extraction(clip, spec):
    enabled = spec.model_copy(
        update={name: getattr(spec, name).model_copy(update={"enabled": True}) for name in ("pose", "face", "location")}
    )
    assert_equal_cues(cues_of(clip, spec=spec), cues_of(clip, spec=enabled))


@given(walks())
def test_dropping_nothing_is_the_identity(clip):
    cues = cues_of(clip)
    assert_equal_cues(dropped(cues, CueSpec()), cues)


@given(walks(), st.booleans(), st.booleans(), st.booleans())
def test_a_dropped_cue_is_the_null_cue_and_others_stay(clip, pose, face, location):
    cues, null = cues_of(clip), null_cues(len(clip), CANVAS)
    spec = CueSpec(
        pose=PoseCueSpec(enabled=pose), face=FaceCueSpec(enabled=face), location=LocationCueSpec(enabled=location)
    )
    switches = {
        "pose_cue": pose,
        "pose_present": pose,
        "face_cue": face,
        "face_present": face,
        "body_location": location,
        "face_location": location,
    }
    expected = {name: getattr(cues if enabled else null, name) for name, enabled in switches.items()}
    assert_equal_cues(dropped(cues, spec), DrivingCues(**expected))


def test_the_cues_of_nobody_are_the_null_cues():
    track = track_of([Figure()] * 2, SOURCE)
    nobody = replace(track, mask=np.zeros_like(track.mask), face_box=np.full_like(track.face_box, np.nan))
    frames = frames_of([Figure()] * 2, SOURCE)
    cues = driving_cues(frames, nobody, identity_alignment(), CANVAS, CueSpec())
    assert_equal_cues(cues, null_cues(2, CANVAS))


def test_frames_and_track_of_different_size_are_refused():
    with pytest.raises(ValueError, match="agree"):
        driving_cues(frames_of([Figure()], 32), track_of([Figure()], SOURCE), identity_alignment(), CANVAS, CueSpec())


@pytest.mark.parametrize("name", [field.name for field in fields(DrivingCues)])
def test_a_field_of_another_length_is_refused(name, unchecked_shapes):
    cues = null_cues(3, 8)
    with pytest.raises(ValueError, match="must have shape"):
        replace(cues, **{name: getattr(cues, name)[:2]})


def skeleton_spec(aligned=True):
    return CueSpec(gate=TOLERANT, pose=PoseCueSpec(picture="skeleton_exact", aligned=aligned))


@given(walks(), alignments(), seeds(), st.booleans())
def test_a_skeleton_takes_the_place_of_the_pose_cue_and_of_nothing_else(clip, alignment, seed, aligned):
    """Laid as a mask is laid; neither filtered nor normalized; flat where the gate rejects the frame."""
    frames, track = frames_of(clip, SOURCE), track_of(clip, SOURCE)
    rejected = np.random.default_rng(seed).random(len(clip)) < 0.3
    track = replace(track, mask=track.mask * ~rejected[:, None, None])
    skeleton = np.random.default_rng(seed).integers(0, 256, frames.shape, np.uint8)
    spec = skeleton_spec(aligned)
    cues = driving_cues(frames, track, alignment, SOURCE, spec, skeleton)
    plain = driving_cues(frames, track, alignment, SOURCE, spec.model_copy(update={"pose": PoseCueSpec()}))
    assert_equal_cues(replace(cues, pose_cue=plain.pose_cue), plain)
    assert (cues.pose_cue[rejected] == MID_GRAY).all()
    for picture, shown in zip(skeleton[~rejected], cues.pose_cue[~rejected], strict=True):
        for color in range(3):
            laid = warped(picture[..., color].astype(np.float32), alignment) if aligned else picture[..., color]
            assert np.abs(shown[..., color] - laid.astype(float)).max() <= 1


def test_a_clip_whose_skeleton_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="needs the clip's skeleton"):
        cues_of([Figure()], spec=skeleton_spec())
