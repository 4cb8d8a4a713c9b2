"""Two clips made ready for arithmetic: one shape, float64, no holes."""

import numpy as np
from jaxtyping import Float64, Real

WHITE = 255.0


def checked_pair(
    generated: Real[np.ndarray, "f h w 3"], target: Real[np.ndarray, "f h w 3"]
) -> tuple[Float64[np.ndarray, "f h w 3"], Float64[np.ndarray, "f h w 3"]]:
    """Both clips in float64: the difference of uint8 frames would wrap around.

    Raises: ValueError if the shapes differ, there is no frame, or a frame holds NaN or infinity (it is named)."""
    if generated.shape != target.shape:
        raise ValueError(f"generated {generated.shape} and target {target.shape} must have one shape")
    return checked(generated, "generated"), checked(target, "target")


def checked(frames: Real[np.ndarray, "f h w 3"], name: str) -> Float64[np.ndarray, "f h w 3"]:
    """The clip in float64.

    Raises: ValueError if there is no frame, or a frame holds NaN or infinity (it is named)."""
    if 0 in frames.shape:
        raise ValueError(f"{name}: nothing to measure, the frames have the shape {frames.shape}")
    values = frames.astype(np.float64)
    if not np.issubdtype(frames.dtype, np.integer):
        bad = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2, 3)))
        if bad.size:
            raise ValueError(f"{name}: frame {bad[0]} holds NaN or infinity")
    return values
