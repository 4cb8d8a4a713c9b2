"""What holds for every metric that is computed from pixels alone."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from directanimator.metrics.drift import color_drift
from directanimator.metrics.flicker import flicker
from directanimator.metrics.image import l1, psnr, psnr_disco, ssim
from tests.strategies import seeds

METRICS = {"l1": l1, "psnr": psnr, "ssim": ssim, "flicker": flicker, "color_drift": color_drift}
BEST = {"l1": 0, "psnr": 100, "ssim": 1, "flicker": 0, "color_drift": 0}
BOUNDS = {"l1": (0, 1), "psnr": (0, 100), "ssim": (-1, 1), "flicker": (0, 2), "color_drift": (0, 2 * math.sqrt(3))}
BLIND_TO_AN_OFFSET = {"flicker", "color_drift"}
"""They look at what changes in time."""

every_metric = pytest.mark.parametrize("name", sorted(METRICS))


def clip(seed, frames=3, side=12):
    return np.random.default_rng(seed).integers(0, 256, (frames, side, side + 1, 3), np.uint8)


@every_metric
@given(first=seeds(), second=seeds())
def test_bytes_and_floats_give_one_value(name, first, second):
    generated, target = clip(first), clip(second)
    assert METRICS[name](generated, target) == METRICS[name](generated.astype(np.float32), target.astype(np.float64))


@every_metric
@given(seed=seeds())
def test_equal_videos_get_exactly_the_best(name, seed):
    assert METRICS[name](clip(seed), clip(seed)) == BEST[name]


@every_metric
@given(first=seeds(), second=seeds())
def test_the_order_of_the_two_does_not_matter(name, first, second):
    there, back = METRICS[name](clip(first), clip(second)), METRICS[name](clip(second), clip(first))
    assert there == pytest.approx(back, rel=1e-12)


@every_metric
@given(seed=seeds(), extreme=st.sampled_from([0, 255, None]))
def test_bounded_values_stay_in_bounds(name, seed, extreme):
    target = clip(seed)
    generated = clip(seed + 1) if extreme is None else np.full_like(target, extreme)
    low, high = BOUNDS[name]
    assert low <= METRICS[name](generated, target) <= high


@pytest.mark.parametrize("name", sorted(METRICS.keys() - BLIND_TO_AN_OFFSET))
@given(seed=seeds(), offset=st.integers(1, 100))
def test_a_constant_offset_is_never_perfect(name, seed, offset):
    target = clip(seed) // 2
    assert abs(METRICS[name](target + np.uint8(offset), target) - BEST[name]) > 1e-6


@pytest.mark.parametrize("name", sorted(BLIND_TO_AN_OFFSET))
@given(seed=seeds(), offset=st.integers(1, 100))
def test_what_looks_at_change_in_time_is_blind_to_a_constant_offset(name, seed, offset):
    target = clip(seed) // 2
    assert METRICS[name](target + np.uint8(offset), target) == pytest.approx(BEST[name], abs=1e-9)


@every_metric
@given(seed=seeds(), frame=st.integers(0, 2), bad=st.sampled_from([np.nan, np.inf]), which=st.booleans())
def test_a_frame_that_is_not_finite_is_refused_by_name(name, seed, frame, bad, which):
    broken = clip(seed).astype(np.float64)
    broken[frame, 4, 5, 1] = bad
    pair = (broken, clip(seed)) if which else (clip(seed), broken)
    with pytest.raises(ValueError, match=f"{'generated' if which else 'target'}: frame {frame} holds NaN"):
        METRICS[name](*pair)


@every_metric
@pytest.mark.usefixtures("unchecked_shapes")
def test_clips_of_other_shapes_and_empty_ones_are_refused(name):
    with pytest.raises(ValueError, match="one shape"):
        METRICS[name](clip(0), clip(0, frames=2))
    if name != "ssim":
        with pytest.raises(ValueError, match="nothing to measure"):
            METRICS[name](clip(0)[:0], clip(0)[:0])


@pytest.mark.parametrize("name", ["l1", "psnr", "ssim", "flicker"])
def test_more_noise_is_worse(name):
    target = np.full((4, 16, 16, 3), 128.0)
    noise = np.random.default_rng(0).normal(size=target.shape)
    values = [METRICS[name](target + strength * noise, target) for strength in (1, 4, 16, 40)]
    assert values == sorted(values, reverse=name in ("psnr", "ssim"))


@given(seeds(), seeds())
def test_ssim_and_psnr_are_those_of_scikit_image(first, second):
    assume(first != second)
    generated, target = clip(first, 1)[0], clip(second, 1)[0]
    wanted = structural_similarity(
        generated, target, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(generated[None], target[None]) == pytest.approx(wanted, abs=1e-5)
    assert psnr(generated[None], target[None]) == pytest.approx(
        peak_signal_noise_ratio(target, generated), abs=1e-5
    )


@given(seeds(), seeds(), st.sampled_from(["l1", "ssim"]))
def test_a_clip_is_the_mean_of_its_frames(first, second, name):
    generated, target = clip(first), clip(second)
    frames = [METRICS[name](generated[i : i + 1], target[i : i + 1]) for i in range(len(target))]
    assert METRICS[name](generated, target) == pytest.approx(np.mean(frames), rel=1e-12)


def test_the_wrapped_psnr_calls_a_shift_by_sixteen_perfect():
    """PEERS: +15, +16, +17 levels give 24.61, 100 and 32.95 dB; the true values are 24.61, 24.05 and 23.52."""
    target = np.full((2, 8, 8, 3), 60, np.uint8)
    wrapped = [psnr_disco(target + np.uint8(offset), target) for offset in (15, 16, 17)]
    assert wrapped == pytest.approx([24.61, 100, 32.95], abs=0.005)
    assert [psnr(target + np.uint8(offset), target) for offset in (15, 16, 17)] == pytest.approx(
        [24.61, 24.05, 23.52], abs=0.005
    )


def test_the_wrapped_psnr_of_unrelated_pictures_is_near_28():
    assert psnr_disco(clip(1, 2, 64), clip(2, 2, 64)) == pytest.approx(28, abs=0.6)


@given(seeds())
def test_a_still_error_does_not_flicker_and_a_changing_one_does(seed):
    target = clip(seed) // 2
    spot = np.zeros(target.shape, np.uint8)
    spot[:, 3:6, 3:6] = 50
    assert flicker(target + spot, target) == 0
    spot[1::2] = 0
    assert flicker(target + spot, target) == pytest.approx(50 / 255 * 9 / (12 * 13))


@given(seeds(), st.floats(1, 40))
def test_colors_that_slide_are_seen_and_a_cast_from_the_start_is_not(seed, slide):
    target = clip(seed, 8).astype(np.float64)
    ramp = np.linspace(0, slide, 8)[:, None, None, None]
    red = np.array([1.0, 0, 0])
    assert color_drift(target + 50 * red, target) == pytest.approx(0, abs=1e-12)
    assert color_drift(target + ramp * red, target) == pytest.approx(slide * 6 / 7 / 255)


def test_one_frame_has_no_change_in_time():
    assert math.isnan(flicker(clip(0, 1), clip(1, 1)))
    assert math.isnan(color_drift(clip(0, 1), clip(1, 1)))
