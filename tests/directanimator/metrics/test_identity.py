import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.metrics.identity import person_colors, person_kept
from tests.strategies import seeds

COLORS = np.array([[200, 40, 30], [20, 180, 60], [50, 60, 220]], np.float64)
"""Head, trunk, legs."""


def dressed(colors: np.ndarray, top: int, third: int, scenery: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two frames of a person of three bands of `third` rows, in front of noise."""
    frames = np.random.default_rng(scenery).integers(0, 256, (2, 40, 30, 3)).astype(np.float64)
    mask = np.zeros((2, 40, 30), np.uint8)
    for band, color in enumerate(colors):
        frames[:, top + band * third : top + (band + 1) * third, 8:20] = color
    mask[:, top : top + 3 * third, 8:20] = 255
    return frames, mask


@given(st.integers(0, 10), st.integers(1, 9), seeds())
def test_the_colors_of_the_thirds_are_found_at_any_place_and_size(top, third, scenery):
    np.testing.assert_allclose(person_colors(*dressed(COLORS, top, third, scenery)), COLORS)


@given(seeds())
def test_thirds_are_taken_frame_by_frame(seed):
    (high, high_mask), (low, low_mask) = dressed(COLORS, 0, 4, seed), dressed(COLORS, 20, 6, seed)
    together = person_colors(np.concatenate([high, low]), np.concatenate([high_mask, low_mask]))
    np.testing.assert_allclose(together, COLORS)


@given(seeds())
def test_pixels_count_by_their_coverage(seed):
    rng = np.random.default_rng(seed)
    levels = rng.choice(np.array([51, 255], np.uint8), (1, 1, 30))
    frames = rng.uniform(0, 255, (1, 1, 30, 3))
    expected = sum(frames[0, 0, x] * float(levels[0, 0, x]) for x in range(30)) / float(levels.sum())
    np.testing.assert_allclose(person_colors(frames, levels)[0], expected)


def test_an_empty_third_has_the_mean_of_the_person():
    frames, mask = np.zeros((1, 9, 4, 3)), np.zeros((1, 9, 4), np.bool_)
    frames[0, :3], frames[0, 6:] = 100, 200
    mask[0, :3], mask[0, 6:] = True, True
    np.testing.assert_allclose(person_colors(frames, mask)[:, 0], [100, 150, 200])


def test_frames_without_the_person_do_not_count():
    frames, mask = dressed(COLORS, 3, 5)
    mask[1] = 0
    frames[1] = 0
    np.testing.assert_allclose(person_colors(frames, mask), COLORS)


@given(st.integers(0, 10), st.integers(1, 9), st.floats(0.51, 1))
def test_whoever_is_nearer_the_reference_is_kept(top, third, share):
    driver = COLORS[::-1]
    mixed = share * COLORS + (1 - share) * driver
    frames, mask = dressed(mixed, top, third)
    assert person_kept(frames, mask, COLORS, driver)
    assert not person_kept(frames, mask, driver, COLORS)


def test_nobody_is_not_kept():
    frames, _ = dressed(COLORS, 3, 5)
    assert np.isnan(person_colors(frames, np.zeros((2, 40, 30), np.bool_))).all()
    assert not person_kept(frames, np.zeros((2, 40, 30), np.bool_), COLORS, COLORS[::-1])


@pytest.mark.usefixtures("unchecked_shapes")
def test_frames_and_mask_must_agree():
    frames, mask = dressed(COLORS, 3, 5)
    with pytest.raises(ValueError, match="must agree in number and size"):
        person_colors(frames, mask[:1])
