"""Whether the generated person moves as the driving person does."""

import numpy as np
from jaxtyping import Float64, Real, UInt8

from directanimator.cues.gate import FOREGROUND

STILL = 1e-6
"""Gray levels; frame differences that spread less than this are constant but for rounding."""


def motion_following(
    generated: Real[np.ndarray, "f h w 3"], target: Real[np.ndarray, "f h w 3"], target_mask: UInt8[np.ndarray, "f h w"]
) -> float:
    """Correlation of generated and true motion, in [-1, 1]; 1 when the same pixels change alike, 0 for a still image.

    Pearson's correlation of gray frame differences, over the pixels that the true person covers in either of the two
    frames, pooled over the clip. 0 where it is undefined: one frame only, no person, or differences that are constant.
    Blur costs little here and a still image everything, the reverse of PSNR.
    Raises: ValueError if frames and mask differ in number or size."""
    if not generated.shape == target.shape == (*target_mask.shape, 3):
        shapes = f"generated {generated.shape}, target {target.shape}, mask {target_mask.shape}"
        raise ValueError(f"frames and mask must agree in number and size, got {shapes}")
    covered = target_mask >= FOREGROUND
    either = covered[1:] | covered[:-1]
    return _correlation(np.diff(_gray(generated), axis=0)[either], np.diff(_gray(target), axis=0)[either])


def _gray(frames: Real[np.ndarray, "f h w 3"]) -> Float64[np.ndarray, "f h w"]:
    """Luma of BT.601."""
    return np.asarray(frames.astype(np.float64) @ np.array([0.299, 0.587, 0.114]))


def _correlation(first: Float64[np.ndarray, " n"], second: Float64[np.ndarray, " n"]) -> float:
    if first.size == 0 or min(first.std(), second.std()) < STILL:
        return 0.0
    covariance = ((first - first.mean()) * (second - second.mean())).mean()
    return float(np.clip(covariance / (first.std() * second.std()), -1, 1))
