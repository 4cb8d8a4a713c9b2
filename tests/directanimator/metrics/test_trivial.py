import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.metrics.identity import person_colors
from directanimator.metrics.trivial import (
    paint_driving_outline,
    paste_driving_frame,
    paste_driving_person,
    repeat_reference,
)
from tests.strategies import seeds, videos


def scene(seed: int, frames: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, 8, 6, 3), np.uint8)


@given(videos(), st.integers(1, 9))
def test_every_frame_is_the_reference(video, num_frames):
    repeated = repeat_reference(video[:1], num_frames)
    assert len(repeated) == num_frames
    assert (repeated == video[:1]).all()


def test_a_clip_without_frames_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        repeat_reference(scene(0, 1), 0)


@given(videos())
def test_a_pasted_frame_is_a_copy_of_the_driving_frame(video):
    pasted, before = paste_driving_frame(video), video.copy()
    np.testing.assert_array_equal(pasted, before)
    pasted += np.uint8(1)
    np.testing.assert_array_equal(video, before)


@given(seeds(), seeds())
def test_the_driver_stands_before_the_reference(first, second):
    driving, reference = scene(first), scene(second, 1)
    mask = np.random.default_rng(first).choice(np.array([0, 255], np.uint8), driving.shape[:3])
    pasted = paste_driving_person(driving, mask, reference)
    np.testing.assert_array_equal(pasted[mask > 0], driving[mask > 0])
    np.testing.assert_array_equal(pasted[mask == 0], np.repeat(reference, 3, axis=0)[mask == 0])


@given(seeds(), seeds(), st.integers(0, 255))
def test_a_soft_edge_lies_between_driver_and_reference(first, second, level):
    driving, reference = scene(first), scene(second, 1)
    pasted = paste_driving_person(driving, np.full(driving.shape[:3], level, np.uint8), reference)
    expected = (level * driving.astype(float) + (255 - level) * reference.astype(float)) / 255
    assert np.abs(pasted - expected).max() <= 0.5 + 1e-3


@given(seeds(), seeds())
def test_an_outline_is_painted_over_the_reference_in_the_colors_of_its_person_from_top_to_bottom(first, second):
    reference, drawn = scene(second, 1), np.random.default_rng(first)
    reference_mask = drawn.choice(np.array([0, 255], np.uint8), reference.shape[:3], p=[0.3, 0.7])
    outline = np.zeros((2, 8, 6), np.uint8)
    outline[0, 1:7, 2:5] = outline[1, 5:8, :] = 255
    painted = paint_driving_outline(outline, reference, reference_mask)
    np.testing.assert_array_equal(painted[outline == 0], np.repeat(reference, 2, axis=0)[outline == 0])
    colors = np.rint(person_colors(reference, reference_mask)).astype(np.uint8)
    for band in range(3):
        assert (painted[0, 1 + 2 * band : 3 + 2 * band, 2:5] == colors[band]).all()
        assert (painted[1, 5 + band] == colors[band]).all()


@given(seeds())
def test_without_a_person_in_the_reference_there_is_nothing_to_paint_with(seed):
    reference = scene(seed, 1)
    nobody, outline = np.zeros(reference.shape[:3], np.uint8), np.full((2, 8, 6), 255, np.uint8)
    painted = paint_driving_outline(outline, reference, nobody)
    np.testing.assert_array_equal(painted, np.repeat(reference, 2, axis=0))


@pytest.mark.usefixtures("unchecked_shapes")
def test_an_outline_must_have_the_reference_s_size():
    with pytest.raises(ValueError, match="must agree in size"):
        paint_driving_outline(np.zeros((2, 9, 6), np.uint8), scene(1, 1), np.zeros((1, 8, 6), np.uint8))


@pytest.mark.usefixtures("unchecked_shapes")
def test_sizes_must_agree():
    with pytest.raises(ValueError, match="must agree in number and size"):
        paste_driving_person(scene(0), np.zeros((1, 8, 6), np.uint8), scene(1, 1))
