import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.metrics.motion import motion_following
from tests.strategies import seeds

SHAPE = (4, 12, 10, 3)


def clip(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(20, 200, SHAPE)


def person(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([0, 60, 200, 255], np.uint8), SHAPE[:3])


@given(seeds(), seeds())
def test_the_target_follows_itself(seed, mask):
    assert motion_following(clip(seed), clip(seed), person(mask)) == pytest.approx(1)


@given(seeds())
def test_a_still_image_follows_nothing(seed):
    target = clip(seed)
    assert motion_following(np.repeat(target[:1], len(target), axis=0), target, person(seed)) == 0


@given(seeds())
def test_the_opposite_motion_is_minus_one(seed):
    assert motion_following(255 - clip(seed), clip(seed), person(seed)) == pytest.approx(-1)


@given(seeds(), seeds(), st.floats(0.1, 3), st.floats(-50, 50))
def test_contrast_and_brightness_do_not_matter(first, second, contrast, brightness):
    generated, target, mask = clip(first), clip(second), person(first)
    plain = motion_following(generated, target, mask)
    assert motion_following(contrast * generated + brightness, target, mask) == pytest.approx(plain, abs=1e-9)


@given(seeds(), seeds())
def test_a_constant_picture_laid_over_all_frames_does_not_matter(first, second):
    generated, target, mask = clip(first), clip(second), person(first)
    shifted = generated + clip(second)[:1]
    assert motion_following(shifted, target, mask) == pytest.approx(motion_following(generated, target, mask), abs=1e-9)


@given(seeds())
def test_motion_outside_the_person_does_not_matter(seed):
    target, mask = clip(seed), np.zeros(SHAPE[:3], np.uint8)
    mask[:, 3:8, 2:7] = 255
    generated = target.copy()
    generated[:, 8:] = clip(seed + 1)[:, 8:]
    assert motion_following(generated, target, mask) == pytest.approx(1)


@given(seeds())
def test_pixels_that_the_person_leaves_count(seed):
    target, mask = clip(seed)[:2], np.zeros((2, *SHAPE[1:3]), np.uint8)
    mask[0, 3:8], mask[1, 5:10] = 255, 255
    generated = target.copy()
    generated[1, 3:5] = 220 - generated[1, 3:5]
    assert motion_following(generated, target, mask) < 0.99


@given(seeds())
def test_a_lamp_that_brightens_all_frames_alike_is_no_motion(seed):
    still = np.repeat(clip(seed)[:1], SHAPE[0], axis=0)
    lamp = 5.0 * np.arange(SHAPE[0])[:, None, None, None]
    assert motion_following(still + lamp, clip(seed + 1), person(seed)) == 0


def test_bytes_do_not_wrap_around():
    target = np.zeros((2, 8, 8, 3), np.uint8)
    target[0, :4], target[1, 4:] = 250, 250
    everywhere = np.full((2, 8, 8), 255, np.uint8)
    assert motion_following(255 - target, target, everywhere) == pytest.approx(-1)


def test_one_frame_or_no_person_is_zero():
    assert motion_following(clip(0)[:1], clip(0)[:1], person(0)[:1]) == 0
    assert motion_following(clip(0), clip(0), np.zeros(SHAPE[:3], np.uint8)) == 0


@pytest.mark.usefixtures("unchecked_shapes")
def test_frames_and_mask_must_agree():
    with pytest.raises(ValueError, match="must agree in number and size"):
        motion_following(clip(0)[:1], clip(0), person(0))
