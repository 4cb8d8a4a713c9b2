import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from directanimator.cues.low_pass import frequency_response, low_pass, low_pass_in_frame
from tests.strategies import canvas_sides, cutoffs, filter_shapes, gray_images, seeds


@given(gray_images(), cutoffs(), filter_shapes())
def test_low_pass_keeps_the_mean(images, cutoff, shape):
    filtered = low_pass(images, cutoff, shape)
    np.testing.assert_allclose(filtered.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=1e-12)


@given(st.floats(-300, 300), canvas_sides(), canvas_sides(), cutoffs(), filter_shapes())
def test_low_pass_keeps_constants(level, height, width, cutoff, shape):
    constant = np.full((1, height, width), level)
    np.testing.assert_allclose(low_pass(constant, cutoff, shape), constant, atol=1e-10)


@given(gray_images(frames=2), cutoffs(), filter_shapes(), st.floats(-3, 3))
def test_low_pass_is_linear(images, cutoff, shape, weight):
    first, second = low_pass(images, cutoff, shape)
    mixed = low_pass(images[:1] + weight * images[1:], cutoff, shape)
    np.testing.assert_allclose(mixed[0], first + weight * second, atol=1e-11)


@given(gray_images(), cutoffs())
def test_ideal_low_pass_is_idempotent(images, cutoff):
    once = low_pass(images, cutoff, "ideal")
    np.testing.assert_allclose(low_pass(once, cutoff, "ideal"), once, atol=1e-11)


@given(gray_images(), cutoffs())
def test_ideal_low_pass_splits_energy_at_the_cutoff(images, cutoff):
    _, height, width = images.shape
    cycles_down = np.fft.fftfreq(height) * min(height, width)
    cycles_across = np.fft.fftfreq(width) * min(height, width)
    radius = np.sqrt(cycles_down[:, None] ** 2 + cycles_across[None, :] ** 2)
    before, after = np.fft.fft2(images), np.fft.fft2(low_pass(images, cutoff, "ideal"))
    np.testing.assert_allclose(after[:, radius > cutoff + 1e-6], 0, atol=1e-10)
    kept = radius < cutoff - 1e-6
    np.testing.assert_allclose(after[:, kept], before[:, kept], atol=1e-10)


@given(gray_images(), cutoffs(), filter_shapes(), st.integers(-50, 50), st.integers(-50, 50))
def test_low_pass_commutes_with_circular_translation(images, cutoff, shape, down, across):
    moved_first = low_pass(np.roll(images, (down, across), axis=(1, 2)), cutoff, shape)
    moved_last = np.roll(low_pass(images, cutoff, shape), (down, across), axis=(1, 2))
    np.testing.assert_allclose(moved_first, moved_last, atol=1e-11)


@given(gray_images(), cutoffs(), filter_shapes())
def test_low_pass_commutes_with_transposition(images, cutoff, shape):
    transposed = low_pass(images.transpose(0, 2, 1), cutoff, shape)
    np.testing.assert_allclose(transposed, low_pass(images, cutoff, shape).transpose(0, 2, 1), atol=1e-11)


@given(gray_images(), cutoffs(), filter_shapes())
def test_low_pass_adds_no_energy(images, cutoff, shape):
    assert (low_pass(images, cutoff, shape) ** 2).sum() <= (images**2).sum() + 1e-9


@given(gray_images(), cutoffs(), st.floats(1.1, 3), filter_shapes())
def test_a_higher_cutoff_keeps_at_least_as_much_energy(images, cutoff, factor, shape):
    low, high = low_pass(images, cutoff, shape), low_pass(images, cutoff * factor, shape)
    assert (low**2).sum() <= (high**2).sum() + 1e-9


@given(st.integers(1, 7), filter_shapes())
def test_cutoff_means_the_same_at_any_resolution(cycles, shape):
    def gain(side: int) -> float:
        wave = np.cos(2 * np.pi * cycles * np.arange(side) / side)[None, None, :].repeat(side, axis=1)
        return float((low_pass(wave, 5.0, shape) * wave).mean() / (wave * wave).mean())

    assert gain(20) == pytest.approx(gain(56), abs=1e-9)


@pytest.mark.parametrize(("shape", "gain"), [("gaussian", np.exp(-0.5)), ("ideal", 1.0), ("butterworth", 0.5)])
def test_response_at_the_cutoff(shape, gain):
    assert frequency_response(32, 32, 6.0, shape)[0, 6] == pytest.approx(gain)


@given(gray_images(), cutoffs(), filter_shapes())
def test_low_pass_keeps_the_precision(images, cutoff, shape):
    assert low_pass(images.astype(np.float32), cutoff, shape).dtype == np.float32


@given(st.floats(-300, 300), canvas_sides(), canvas_sides(), cutoffs(), filter_shapes())
def test_low_pass_in_frame_keeps_size_and_constants(level, height, width, cutoff, shape):
    constant = np.full((1, height, width), level)
    np.testing.assert_allclose(low_pass_in_frame(constant, cutoff, shape), constant, atol=1e-9)


@given(st.integers(0, 2**32 - 1), cutoffs())
def test_far_from_the_borders_the_frame_does_not_matter(seed, cutoff):
    steep = max(cutoff, 6.0)
    images = np.zeros((1, 48, 60))
    images[:, 22:26, 28:32] = np.random.default_rng(seed).standard_normal((4, 4))
    both = (low_pass_in_frame(images, steep, "gaussian"), low_pass(images, steep, "gaussian"))
    np.testing.assert_allclose(*(part[:, 12:36, 18:42] for part in both), atol=2e-3)


@given(gray_images(), cutoffs(), filter_shapes(), st.sampled_from([1, 2]))
def test_low_pass_commutes_with_flips(images, cutoff, shape, axis):
    flipped = np.flip(low_pass(images, cutoff, shape), axis)
    np.testing.assert_allclose(low_pass(np.flip(images, axis), cutoff, shape), flipped, atol=1e-11)


@given(gray_images(), filter_shapes())
def test_an_endless_cutoff_changes_nothing(images, shape):
    np.testing.assert_allclose(low_pass(images, 1e9, shape), images, atol=1e-9)


@given(seeds(), st.sampled_from([257, 270, 331]), st.floats(4, 40), filter_shapes())
def test_the_fast_way_of_large_frames_filters_as_the_slow_one(seed, side, cutoff, shape):
    """Against the response, applied in double precision."""
    image = np.random.default_rng(seed).standard_normal((1, side, side - 7)).astype(np.float32)
    response = frequency_response(side, side - 7, cutoff, shape)
    expected = np.fft.ifft2(np.fft.fft2(image.astype(np.float64)) * response).real
    np.testing.assert_allclose(low_pass(image, cutoff, shape), expected, atol=2e-5)


@settings(max_examples=8)
@given(seeds(), st.sampled_from([257, 271]), st.floats(6, 30))
def test_a_border_that_is_wider_for_speed_does_not_change_the_picture(seed, side, cutoff):
    image = np.random.default_rng(seed).standard_normal((1, side, side))
    border = side - 1
    framed = np.pad(image, ((0, 0), (border, border), (border, border)), mode="reflect")
    expected = low_pass(framed, cutoff * framed.shape[1] / side, "gaussian")[:, border:-border, border:-border]
    np.testing.assert_allclose(low_pass_in_frame(image, cutoff, "gaussian"), expected, atol=2e-3)
