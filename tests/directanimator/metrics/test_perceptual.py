import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from directanimator.assets import is_fetched
from directanimator.errors import UserError
from directanimator.metrics.networks.mobilenet_v2 import MobileNetV2Features, pooled_features
from directanimator.metrics.perceptual import lpips_mobilenetv2, perceptual_distance
from tests.strategies import seeds

fetched = pytest.mark.skipif(
    not is_fetched("mobilenet_v2"), reason="python -m directanimator.assets fetch mobilenet_v2"
)


@pytest.fixture(scope="module")
def net() -> MobileNetV2Features:
    return MobileNetV2Features.fetched()


def pixels_and_edges(pixels):
    """Maps that a person can check: the pixels, and the differences of neighbors."""
    return [pixels, pixels[:, :, 1:] - pixels[:, :, :-1]]


def clip(seed, frames=2, side=8):
    return np.random.default_rng(seed).integers(0, 256, (frames, side, side, 3), np.uint8)


def smooth_clip(seed, side=64):
    coarse = torch.from_numpy(np.random.default_rng(seed).uniform(0, 255, (2, 3, 5, 5)))
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 255)
    return fine.permute(0, 2, 3, 1).numpy()


@given(seeds(), seeds())
def test_equal_clips_have_no_distance_and_it_is_symmetric_and_bounded(first, second):
    a, b = clip(first), clip(second)
    assert perceptual_distance(pixels_and_edges, a, a) == 0
    found = perceptual_distance(pixels_and_edges, a, b)
    assert found == perceptual_distance(pixels_and_edges, b, a)
    assert 0 <= found <= 8 + 1e-5
    assert perceptual_distance(pixels_and_edges, a.astype(np.float64), b) == found


def test_opposite_colors_are_two_apart_in_squares():
    """Unit vectors along red and along green: a squared distance of 2, weighed by channel."""
    red, green = np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 4, 3))
    red[..., 0], green[..., 1] = 200, 30
    assert perceptual_distance(lambda pixels: [pixels], red, green) == pytest.approx(2)
    weights = [torch.tensor([1.0, 0.5, 9.0])]
    assert perceptual_distance(lambda pixels: [pixels], red, green, weights) == pytest.approx(1.5)


@given(seeds(), st.integers(1, 40))
def test_a_clip_is_the_mean_of_its_frames(seed, frames):
    a, b = clip(seed, frames, 2), clip(seed + 1, frames, 2)
    apart = [perceptual_distance(pixels_and_edges, a[i : i + 1], b[i : i + 1]) for i in range(frames)]
    assert perceptual_distance(pixels_and_edges, a, b) == pytest.approx(np.mean(apart), rel=1e-5)


@fetched
def test_more_noise_and_more_blur_are_farther_on_the_network(net):
    clean = smooth_clip(0)
    noise = np.random.default_rng(1).normal(size=clean.shape)
    found = [lpips_mobilenetv2(net, np.clip(clean + s * noise, 0, 255), clean) for s in (0, 4, 16, 48)]
    assert found[0] == 0
    assert found == sorted(found)
    assert len(set(found)) == 4


@fetched
def test_pooled_features_of_a_batch_are_those_of_its_frames(net):
    frames = smooth_clip(2, 40).astype(np.uint8)
    together = pooled_features(net, frames)
    apart = np.concatenate([pooled_features(net, frames[i : i + 1]) for i in range(2)])
    np.testing.assert_allclose(together, apart, atol=1e-5)
    assert together.shape == (2, 1280)


def test_what_is_not_this_network_is_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="not the weights of MobileNetV2"):
        MobileNetV2Features.from_file(path)
