import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from directanimator.metrics.mask import estimated_mask, mask_iou
from tests.strategies import seeds

SIDE = 32


def background(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 190, (SIDE, SIDE, 3), np.uint8)


def with_square(scene: np.ndarray, x: int, y: int, side: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """One frame with a square `levels` brighter in one channel, and where it is."""
    frame, inside = scene[None].copy(), np.zeros((1, SIDE, SIDE), np.bool_)
    inside[0, y : y + side, x : x + side] = True
    frame[..., 1][inside] += np.uint8(levels)
    return frame, inside


def masks(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((3, 9, 8)) < 0.4


@given(seeds(), st.integers(1, 14), st.integers(1, 14), st.integers(6, 15), st.integers(40, 60))
def test_a_person_is_found_up_to_a_pixel(seed, x, y, side, levels):
    frame, inside = with_square(background(seed), x, y, side, levels)
    found = estimated_mask(frame, background(seed))
    assert found[:, y + 1 : y + side - 1, x + 1 : x + side - 1].all()
    around = np.zeros_like(inside)
    around[:, max(y - 1, 0) : y + side + 1, max(x - 1, 0) : x + side + 1] = True
    assert not (found & ~around).any()


@given(seeds(), st.integers(0, 20))
def test_what_hardly_differs_is_background(seed, levels):
    frame, _ = with_square(background(seed), 4, 4, 20, levels)
    assert not estimated_mask(frame, background(seed)).any()


@given(seeds(), st.integers(0, 31), st.integers(0, 31))
@example(0, 1, 1)
@example(0, 30, 8)
def test_a_speck_is_no_person(seed, x, y):
    frame, _ = with_square(background(seed), x, y, 1, 60)
    assert not estimated_mask(frame, background(seed), threshold=10.0).any()


@given(seeds(), st.floats(5, 60), st.floats(1, 40))
def test_a_higher_threshold_finds_no_more(seed, threshold, more):
    frame = np.random.default_rng(seed).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    low, high = (estimated_mask(frame, background(seed), level) for level in (threshold, threshold + more))
    assert not (high & ~low).any()


@given(seeds())
def test_darker_is_as_different_as_brighter(seed):
    scene = background(seed)
    brighter, _ = with_square(scene, 5, 6, 12, 50)
    darker = (2 * scene.astype(int) - brighter).astype(np.uint8)
    np.testing.assert_array_equal(estimated_mask(darker, scene), estimated_mask(brighter, scene))


@given(seeds(), seeds())
def test_overlap_is_symmetric_and_a_share(first, second):
    a, b = masks(first), masks(second)
    assert 0 <= mask_iou(a, b) == mask_iou(b, a) <= 1


@given(seeds())
def test_a_mask_overlaps_itself_fully_and_its_complement_not_at_all(seed):
    assert (mask_iou(masks(seed), masks(seed)), mask_iou(masks(seed), ~masks(seed))) == (1, 0)


def test_overlap_counts_pixels_of_the_whole_clip():
    a, b = np.zeros((2, 4, 4), np.bool_), np.zeros((2, 4, 4), np.bool_)
    a[0, 0, :3], b[0, 0, 1:] = True, True
    b[1, 0, 0] = True
    assert mask_iou(a, b) == 2 / 5


def test_soft_masks_count_from_half():
    soft = np.array([[[0, 127, 128, 255]]], np.uint8)
    assert mask_iou(soft, np.array([[[False, False, True, True]]])) == 1


def test_two_empty_masks_agree():
    assert mask_iou(np.zeros((1, 4, 4), np.bool_), np.zeros((1, 4, 4), np.uint8)) == 1


@pytest.mark.usefixtures("unchecked_shapes")
def test_sizes_must_agree():
    with pytest.raises(ValueError, match="one size"):
        estimated_mask(background(0)[None, 1:], background(0))
    with pytest.raises(ValueError, match="one shape"):
        mask_iou(masks(0)[:1], masks(0))
