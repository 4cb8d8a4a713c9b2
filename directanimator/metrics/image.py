"""How near generated pixels are to the true ones.

Everything is computed in float64: subtracting uint8 frames wraps around, which is how PSNR near 30 dB came to be
reported for pictures that have nothing in common.
Source: DisCo issue 86 and the repositories that copied its metric."""

import math

import numpy as np
from jaxtyping import Bool, Float32, Float64, Real, UInt8
from skimage.metrics import structural_similarity

from directanimator.cues.person import face_seen
from directanimator.metrics.frames import WHITE, checked_pair

PERFECT_PSNR = 100.0
"""dB of equal frames, and the cap for all others."""

MIN_SSIM_SIDE = 11
"""Side of SSIM's Gaussian window, in pixels."""


def l1(generated: Real[np.ndarray, "f h w 3"], target: Real[np.ndarray, "f h w 3"]) -> float:
    """Mean absolute difference of frames in 0..255, as a share of white: in [0, 1], 0 for equal frames.

    Raises: ValueError if the shapes differ or a frame is not finite.
    Deviation: published L1 of this field is some 1e-4; by what it was divided is not stated."""
    return float(np.abs(_difference(generated, target)).mean()) / WHITE


def psnr_disco(generated: UInt8[np.ndarray, "f h w 3"], target: UInt8[np.ndarray, "f h w 3"]) -> float:
    """The wrong PSNR of old papers, in dB, only to read their tables: uint8 differences and squares that wrap around.

    A shift of all pixels by 16 levels counts as perfect (100), unrelated pictures get about 28; a mean over frames.
    Raises: ValueError if the shapes differ.
    Source: DisCo issue 86; its published values lie between 28 and 32 whatever the pictures show."""
    if generated.shape != target.shape:
        raise ValueError(f"generated {generated.shape} and target {target.shape} must have one shape")
    wrapped = (generated - target) ** 2
    return float(np.mean([_decibels(float(frame.mean())) for frame in wrapped]))


def psnr(
    generated: Real[np.ndarray, "f h w 3"],
    target: Real[np.ndarray, "f h w 3"],
    weight: Real[np.ndarray, "f h w"] | Bool[np.ndarray, "f h w"] | None = None,
) -> float:
    """Peak signal-to-noise ratio of frames in 0..255, in dB, at most 100 (equal frames); higher is better.

    The squared error is pooled over the clip before the logarithm, each pixel by its `weight`, so that one perfect
    frame cannot hide bad ones.
    Raises: ValueError if the shapes differ, a frame is not finite, or the weights sum to zero."""
    squared = _difference(generated, target) ** 2
    if weight is None:
        return _decibels(float(squared.mean()))
    if weight.shape != squared.shape[:3]:
        raise ValueError(f"weight {weight.shape} must have the frames and pixels of the clip, {squared.shape[:3]}")
    total = float(weight.sum(dtype=np.float64))
    if not total > 0:
        raise ValueError("the weights sum to zero: no pixel is left to compare")
    return _decibels(float((squared.mean(axis=-1) * weight).sum()) / total)


def foreground_psnr(
    generated: Real[np.ndarray, "f h w 3"], target: Real[np.ndarray, "f h w 3"], target_mask: UInt8[np.ndarray, "f h w"]
) -> float | None:
    """PSNR in dB where the true person is, each pixel by its coverage; None when no frame shows a person."""
    return psnr(generated, target, target_mask) if target_mask.any() else None


def face_psnr(
    generated: Real[np.ndarray, "f h w 3"], target: Real[np.ndarray, "f h w 3"], face_box: Float32[np.ndarray, "f 4"]
) -> float | None:
    """PSNR in dB inside the true face boxes, over the frames that show a face; None when none does."""
    inside = face_pixels(face_box, target.shape[1:3])
    return psnr(generated, target, inside) if inside.any() else None


def face_pixels(face_box: Float32[np.ndarray, "f 4"], size: tuple[int, int]) -> Bool[np.ndarray, "f h w"]:
    """True for each pixel of frames of `size` that the frame's box touches."""
    inside = np.zeros((len(face_box), *size), np.bool_)
    for frame in np.flatnonzero(face_seen(face_box, size)):
        x0, y0, x1, y1 = face_box[frame]
        inside[frame, max(math.floor(y0), 0) : math.ceil(y1), max(math.floor(x0), 0) : math.ceil(x1)] = True
    return inside


def ssim(generated: Real[np.ndarray, "f h w 3"], target: Real[np.ndarray, "f h w 3"]) -> float:
    """Structural similarity of frames in 0..255, in [-1, 1], 1 for equal frames; the mean over channels and frames.

    Raises: ValueError if the shapes differ, a frame is not finite, or a side is below 11 pixels.
    Source: Wang et al. 2004: Gaussian window of sd 1.5, biased covariance."""
    if min(target.shape[1:3]) < MIN_SSIM_SIDE:
        raise ValueError(f"SSIM needs frames of at least {MIN_SSIM_SIDE} pixels a side, got {target.shape[1:3]}")
    pairs = zip(*checked_pair(generated, target), strict=True)
    return float(np.mean([_frame_ssim(first, second) for first, second in pairs]))


def _frame_ssim(first: Float64[np.ndarray, "h w 3"], second: Float64[np.ndarray, "h w 3"]) -> float:
    similarity = structural_similarity(
        first, second, data_range=WHITE, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(similarity)


def _difference(
    generated: Real[np.ndarray, "f h w 3"], target: Real[np.ndarray, "f h w 3"]
) -> Float64[np.ndarray, "f h w 3"]:
    first, second = checked_pair(generated, target)
    return first - second


def _decibels(mean_squared_error: float) -> float:
    if mean_squared_error == 0:
        return PERFECT_PSNR
    return min(10 * math.log10(WHITE**2 / mean_squared_error), PERFECT_PSNR)
