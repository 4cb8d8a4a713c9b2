"""Whether the generated person still wears the reference's colors, or has put on the driver's."""

import numpy as np
from jaxtyping import Bool, Float64, Real, UInt8

NUM_BANDS = 3
"""Upper, middle and lower third: roughly head, trunk and legs."""


def person_colors(
    frames: Real[np.ndarray, "f h w 3"], mask: UInt8[np.ndarray, "f h w"] | Bool[np.ndarray, "f h w"]
) -> Float64[np.ndarray, "3 3"]:
    """Mean RGB of the person's upper, middle and lower third, 0..255: bands x channels, weighted by the mask.

    The thirds are those of the rows that the person spans, frame by frame. A third that the mask leaves empty has the
    mean of the whole person; all is NaN when no frame shows a person.
    Raises: ValueError if frames and mask differ in number or size."""
    if frames.shape[:3] != mask.shape:
        raise ValueError(f"frames {frames.shape[:3]} and mask {mask.shape} must agree in number and size")
    if not mask.any():
        return np.full((NUM_BANDS, 3), np.nan)
    bands = np.stack([band_of_rows(frame_mask) for frame_mask in mask])
    weights = [mask * (bands == band)[..., None] for band in range(NUM_BANDS)]
    return np.stack([_mean_color(frames, weight if weight.any() else mask) for weight in weights])


def person_kept(
    generated: Real[np.ndarray, "f h w 3"],
    generated_mask: UInt8[np.ndarray, "f h w"] | Bool[np.ndarray, "f h w"],
    reference_colors: Float64[np.ndarray, "3 3"],
    driver_colors: Float64[np.ndarray, "3 3"],
) -> bool:
    """True when the generated person's colors are nearer the reference's than the driver's; False with no person."""
    colors = person_colors(generated, generated_mask)
    return bool(np.linalg.norm(colors - reference_colors) < np.linalg.norm(colors - driver_colors))


def band_of_rows(mask: UInt8[np.ndarray, "h w"] | Bool[np.ndarray, "h w"]) -> Float64[np.ndarray, " h"]:
    """0, 1 or 2 for each row that the person spans, other numbers elsewhere: upper, middle and lower third."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return np.full(len(mask), -1.0)
    first, count = rows[0], rows[-1] - rows[0] + 1
    return np.floor((np.arange(len(mask)) - first) * NUM_BANDS / count)


def _mean_color(
    frames: Real[np.ndarray, "f h w 3"], weight: UInt8[np.ndarray, "f h w"] | Bool[np.ndarray, "f h w"]
) -> Float64[np.ndarray, " 3"]:
    return np.average(frames.astype(np.float64), axis=(0, 1, 2), weights=np.repeat(weight[..., None], 3, axis=-1))
