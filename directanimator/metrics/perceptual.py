"""A perceptual distance in the manner of LPIPS, on whatever network gives maps."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor

from directanimator.metrics.frames import checked_pair
from directanimator.metrics.networks.mobilenet_v2 import BATCH, TAPS, MobileNetV2Features, to_unit

_TINY = 1e-10

Maps = Callable[[Float[Tensor, "b 3 h w"]], Sequence[Float[Tensor, "b c h2 w2"]]]
"""Pixels in [0, 1] to the maps that are compared."""
Weights = Sequence[Float[Tensor, " _"]]
"""One number per channel, for each map."""


@torch.no_grad()
def perceptual_distance(
    maps: Maps,
    generated: Real[np.ndarray, "f h w 3"],
    target: Real[np.ndarray, "f h w 3"],
    weights: Weights | None = None,
) -> float:
    """Squared distance of unit-length features, summed over channels and maps, mean over places and frames; >= 0.

    0 for equal frames, symmetric. Without `weights` (one per channel of each map, as LPIPS learned them) every channel
    counts alike, and each map gives at most 4. Frames keep their size.
    Raises: ValueError if the shapes differ or a frame is not finite.
    Source: Zhang et al. 2018."""
    first, second = checked_pair(generated, target)
    frames: list[Tensor] = []
    for start in range(0, len(first), BATCH):
        part = slice(start, start + BATCH)
        frames.append(_distances(maps(to_unit(first[part])), maps(to_unit(second[part])), weights))
    return float(torch.cat(frames).double().mean())


def lpips_mobilenetv2(
    net: MobileNetV2Features, generated: Real[np.ndarray, "f h w 3"], target: Real[np.ndarray, "f h w 3"]
) -> float:
    """The perceptual distance on MobileNetV2, in [0, 20]; not comparable with published LPIPS.

    Raises: ValueError if the shapes differ or a frame is not finite."""
    return perceptual_distance(functools.partial(_taps, net), generated, target)


def _taps(net: MobileNetV2Features, pixels: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b c h2 w2"]]:
    maps = net(pixels)
    return [maps[tap] for tap in TAPS]


def _distances(first: Sequence[Tensor], second: Sequence[Tensor], weights: Weights | None) -> Float[Tensor, " b"]:
    total = torch.zeros(len(first[0]))
    for index, (one, other) in enumerate(zip(first, second, strict=True)):
        squared = (_unit_length(one) - _unit_length(other)) ** 2
        if weights is not None:
            squared = squared * weights[index][:, None, None]
        total = total + squared.sum(dim=1).mean(dim=(1, 2))
    return total


def _unit_length(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    return maps / (maps.square().sum(dim=1, keepdim=True).sqrt() + _TINY)
