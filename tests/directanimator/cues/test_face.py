import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.cues.face import face_cue, smooth_boxes
from directanimator.cues.pose import MID_GRAY
from directanimator.cues.spec import FaceCueSpec
from tests.strategies import seeds, videos

NO_FACE = np.full(4, np.nan, np.float32)


def boxes(*rows):
    return np.array(rows, np.float32)


@given(
    st.integers(20, 100),
    st.floats(8, 30),
    st.floats(0.3, 0.7),
    st.floats(0.3, 0.7),
    st.floats(1.2, 3),
    st.integers(16, 80),
)
def test_face_fills_the_center_of_the_canvas(side, face, x, y, margin, out):
    """A white face on black: its centroid is the canvas center, and its side is out / margin."""
    face = min(face, side / 3)
    left, top = round(x * side - face / 2), round(y * side - face / 2)
    extent = round(face)
    frame = np.zeros((1, side, side, 3), np.uint8)
    frame[0, top : top + extent, left : left + extent] = 255
    box = boxes([left, top, left + extent, top + extent])
    cue, _ = face_cue(frame, box, out, FaceCueSpec(margin=margin))
    light = cue[0, :, :, 0] / 255
    centers = np.arange(out) + 0.5
    assert (light.sum(axis=0) @ centers) / light.sum() == pytest.approx(out / 2, abs=0.1 + out / 100)
    assert (light.sum(axis=1) @ centers) / light.sum() == pytest.approx(out / 2, abs=0.1 + out / 100)
    assert np.sqrt(light.sum()) == pytest.approx(out / margin, rel=0.05, abs=0.5)


@given(
    st.integers(24, 60),
    st.integers(4, 12),
    st.floats(0.2, 0.8),
    st.floats(0.2, 0.8),
    st.floats(1, 3),
)
def test_a_face_in_place_is_the_frame_around_the_box_and_gray_elsewhere(side, face, x, y, margin):
    """The white face on black keeps its place and size; what lies beyond the margin is gray."""
    left, top = round(x * (side - face)), round(y * (side - face))
    frame = np.zeros((1, side, side, 3), np.uint8)
    frame[0, top : top + face, left : left + face] = 255
    box = boxes([left, top, left + face, top + face])
    cue, present = face_cue(frame, box, side, FaceCueSpec(zoomed=False, margin=margin))
    assert present.all()
    shown = cue[0, :, :, 0]
    np.testing.assert_array_equal(shown == 255, frame[0, :, :, 0] == 255)
    center = np.array([top + face / 2, left + face / 2])[:, None, None]
    reach = np.abs(np.indices((side, side)) + 0.5 - center).max(axis=0)
    assert (shown[reach > margin * face / 2 + 1.5] == MID_GRAY).all()
    assert (shown[(reach < margin * face / 2 - 1.5) & (reach > face / 2 + 1)] == 0).all()


@given(videos(), st.integers(8, 40))
def test_without_a_face_the_canvas_is_flat(video, out):
    cue, present = face_cue(video, np.stack([NO_FACE] * len(video)), out, FaceCueSpec())
    assert not present.any()
    assert (cue == MID_GRAY).all()
    assert cue.shape == (len(video), out, out, 3)


@pytest.mark.parametrize(
    "box", [[5, 5, 5, 9], [9, 9, 4, 4], [100, 5, 120, 25], [5, np.nan, 9, 9], [np.inf, 2, np.inf, 9], [-20, 0, -3, 9]]
)
def test_a_box_that_shows_no_part_of_the_frame_is_no_face(box):
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    cue, present = face_cue(frames, boxes(box), 16, FaceCueSpec())
    assert not present[0]
    assert (cue == MID_GRAY).all()


@given(st.integers(0, 255), st.floats(-5, 30), st.floats(-5, 30), st.floats(2, 1e6))
def test_beyond_the_frame_the_border_is_repeated(level, left, top, side):
    frames = np.full((1, 32, 32, 3), level, np.uint8)
    cue, present = face_cue(frames, boxes([left, top, left + side, top + side]), 16, FaceCueSpec())
    if present[0]:
        assert (cue == level).all()


@given(seeds(), st.sampled_from([(16, 32), (32, 16), (24, 24)]))
def test_oblong_canvas_does_not_stretch_the_face(seed, size):
    """A white disc keeps equal width and height."""
    y, x = np.mgrid[:64, :64] + 0.5
    frame = (np.hypot(x - 32, y - 32) < 8).astype(np.uint8)[None, :, :, None].repeat(3, axis=3) * 255
    cue, _ = face_cue(frame, boxes([24, 24, 40, 40]), size, FaceCueSpec(margin=1.5))
    light = cue[0, :, :, 0] / 255
    assert light.sum(axis=0).max() == pytest.approx(light.sum(axis=1).max(), abs=1)


def test_a_fine_pattern_is_averaged_when_the_face_shrinks():
    frame = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)[None, :, :, None].repeat(3, axis=3)
    cue, _ = face_cue(frame, boxes([8, 8, 56, 56]), 8, FaceCueSpec(margin=1.0))
    assert np.abs(cue.astype(int) - 127).max() <= 32


def test_the_crop_is_taken_at_source_resolution():
    """Stripes one source pixel wide survive in a small face."""
    frame = np.zeros((1, 128, 128, 3), np.uint8)
    frame[:, :, ::2] = 255
    cue, _ = face_cue(frame, boxes([60, 60, 68, 68]), 64, FaceCueSpec(margin=1.0))
    assert np.ptp(cue) > 200


@given(st.integers(1, 12), seeds(), st.integers(0, 4))
def test_smoothing_keeps_steady_motion(frames, seed, radius):
    start, speed = np.random.default_rng(seed).uniform(-9, 9, (2, 4))
    track = (start + speed * np.arange(frames)[:, None]).astype(np.float32)
    np.testing.assert_allclose(smooth_boxes(track, radius), track, atol=1e-4)


@given(st.lists(st.booleans(), min_size=1, max_size=15), seeds(), st.integers(0, 4))
def test_smoothing_never_crosses_a_frame_without_face(seen, seed, radius):
    track = np.random.default_rng(seed).uniform(0, 50, (len(seen), 4)).astype(np.float32)
    track[~np.array(seen)] = np.nan
    smooth = smooth_boxes(track, radius)
    np.testing.assert_array_equal(np.isnan(smooth), np.isnan(track))
    for gap in np.flatnonzero(~np.array(seen)):
        np.testing.assert_array_equal(smooth[:gap], smooth_boxes(track[:gap], radius))


@given(seeds(), st.integers(1, 4))
def test_smoothing_calms_jitter(seed, radius):
    track = np.random.default_rng(seed).normal(0, 1, (60, 4)).astype(np.float32)
    assert np.abs(np.diff(smooth_boxes(track, radius), axis=0)).mean() < np.abs(np.diff(track, axis=0)).mean() * 0.8
