import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from directanimator.metrics.image import face_pixels, face_psnr, foreground_psnr, psnr, ssim
from tests.strategies import seeds, videos

SHAPE = (3, 24, 20, 3)


def noise(seed: int, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def frames(seed: int, low=0, high=256, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape, np.uint8)


def boxes(*rows) -> np.ndarray:
    return np.array([row or [math.nan] * 4 for row in rows], np.float32)


@given(seeds(), seeds(), st.sampled_from([psnr, ssim]))
def test_a_metric_of_bytes_is_the_metric_of_floats(first, second, metric):
    a, b = frames(first), frames(second)
    assert metric(a, b) == metric(a.astype(np.float64), b.astype(np.float64))


@given(seeds(), st.integers(1, 100), st.sampled_from([psnr, ssim]))
def test_a_constant_offset_is_never_perfect(seed, offset, metric):
    target = frames(seed, 0, 156)
    assert metric(target + np.uint8(offset), target) < metric(target, target)


@pytest.mark.parametrize(("offset", "decibels"), [(15, 24.61), (16, 24.05), (17, 23.52), (32, 18.03), (48, 14.51)])
def test_psnr_of_an_offset_has_the_closed_form(offset, decibels):
    target = frames(0, 0, 200)
    assert psnr(target + np.uint8(offset), target) == pytest.approx(decibels, abs=0.005)


@given(seeds(), st.floats(1, 30), st.floats(1.01, 3))
def test_psnr_falls_strictly_with_noise(seed, spread, factor):
    target = frames(seed).astype(np.float64)
    assert psnr(target + factor * spread * noise(seed), target) < psnr(target + spread * noise(seed), target)


@given(seeds(), st.floats(2, 30))
def test_ssim_falls_with_noise(seed, spread):
    target = frames(seed).astype(np.float64)
    assert ssim(target + 3 * spread * noise(seed), target) < ssim(target + spread * noise(seed), target)


@given(videos())
def test_equal_frames_get_100_decibels(video):
    assert psnr(video, video) == 100


@given(seeds())
def test_equal_frames_have_similarity_one(seed):
    assert ssim(frames(seed), frames(seed)) == pytest.approx(1)


def test_no_clip_scores_above_equal_frames():
    target = np.zeros((1, 200, 200, 3))
    nearly = target.copy()
    nearly[0, 0, 0, 0] = 0.01
    assert psnr(nearly, target) == 100


@given(seeds(), seeds(), st.sampled_from([psnr, ssim]))
def test_a_metric_is_symmetric(first, second, metric):
    assert metric(frames(first), frames(second)) == pytest.approx(metric(frames(second), frames(first)))


@given(st.integers(0, 255), st.integers(0, 255))
def test_similarity_of_flat_frames_is_that_of_their_brightness(a, b):
    first, second = (np.full(SHAPE, level, np.uint8) for level in (a, b))
    constant = (0.01 * 255) ** 2
    assert ssim(first, second) == pytest.approx((2 * a * b + constant) / (a**2 + b**2 + constant))


def test_the_error_is_pooled_before_the_logarithm():
    target, generated = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8, 3), np.uint8)
    generated[1] = 10
    assert psnr(generated, target) == pytest.approx(10 * math.log10(255**2 / 50))


@given(seeds(), st.integers(1, 255))
def test_equal_weights_weigh_nothing(seed, weight):
    a, b = frames(seed), frames(seed, 50, 100)
    assert psnr(a, b, np.full(SHAPE[:3], weight, np.uint8)) == pytest.approx(psnr(a, b))


@given(seeds())
def test_pixels_without_weight_do_not_count(seed):
    a, b = frames(seed), frames(seed, 50, 100)
    weight = np.zeros(SHAPE[:3], np.bool_)
    weight[:, :10] = True
    assert psnr(a, b, weight) == pytest.approx(psnr(a[:, :10], b[:, :10]))


def test_soft_weights_count_in_proportion():
    target, generated = np.zeros((1, 1, 2, 3)), np.zeros((1, 1, 2, 3))
    generated[0, 0, 0] = 20
    weight = np.array([[[64, 192]]], np.uint8)
    assert psnr(generated, target, weight) == pytest.approx(10 * math.log10(255**2 / (400 / 4)))


def test_weights_that_sum_to_zero_are_refused():
    with pytest.raises(ValueError, match="no pixel is left"):
        psnr(frames(0), frames(1), np.zeros(SHAPE[:3], np.uint8))


@given(seeds())
def test_foreground_psnr_ignores_the_background(seed):
    target, mask = frames(seed), np.zeros(SHAPE[:3], np.uint8)
    mask[:, 5:15, 5:15] = 255
    generated = np.where(mask[..., None] > 0, target, 255 - target)
    assert foreground_psnr(generated, target, mask) == 100


def test_foreground_psnr_without_a_person_is_none():
    assert foreground_psnr(frames(0), frames(1), np.zeros(SHAPE[:3], np.uint8)) is None


@given(seeds())
def test_face_psnr_looks_only_at_faces(seed):
    target = frames(seed)
    generated = 255 - target
    generated[1, 4:9, 3:8] = target[1, 4:9, 3:8]
    assert face_psnr(generated, target, boxes(None, [3, 4, 8, 9], None)) == 100
    assert face_psnr(generated, target, boxes(None, [3, 4, 9, 9], None)) < 30


def test_face_psnr_without_a_face_is_none():
    assert face_psnr(frames(0), frames(1), boxes(None, [30, 30, 40, 40], [5, 5, 5, 9])) is None


def test_a_face_covers_the_pixels_its_box_touches():
    inside = face_pixels(boxes([-3.5, 1.2, 2.1, 3.0]), (6, 5))[0]
    assert np.argwhere(inside).tolist() == [[y, x] for y in (1, 2) for x in (0, 1, 2)]


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("metric", [psnr, ssim])
def test_one_frame_is_not_compared_with_a_clip(metric):
    with pytest.raises(ValueError, match="must have one shape"):
        metric(frames(0)[:1], frames(0))


def test_frames_below_the_window_of_ssim_are_refused():
    small = frames(0, shape=(1, 10, 20, 3))
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ssim(small, small)


@given(seeds(), seeds())
def test_a_clip_in_reverse_scores_the_same(first, second):
    a, b = frames(first), frames(second)
    assume(first != second)
    assert (psnr(a[::-1], b[::-1]), ssim(a[::-1], b[::-1])) == pytest.approx((psnr(a, b), ssim(a, b)))
