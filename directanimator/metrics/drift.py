"""What slides away in the course of a clip: colors, and who the person is."""

import math

import numpy as np
from jaxtyping import Float64, Real

from directanimator.metrics.frames import WHITE, checked_pair

MIN_FRAMES = 2
PART = 4
"""The first and the last quarter of a clip are compared."""


def color_drift(generated: Real[np.ndarray, "f h w 3"], target: Real[np.ndarray, "f h w 3"]) -> float:
    """How far the mean color's error moves from the first to the last quarter, as a share of white; 0 is best.

    In [0, 2 sqrt 3]. Blind to a cast that was there from the start. NaN for one frame.
    Raises: ValueError if the shapes differ or a frame is not finite.
    Deviation: ours; the complaint of users of long videos is that colors slide."""
    first, second = checked_pair(generated, target)
    return float(np.linalg.norm(_change((first - second).mean(axis=(1, 2))))) / WHITE


def identity_drift(similarity: Float64[np.ndarray, " f"]) -> float:
    """How much similarity to the true face is lost from the first to the last quarter; 0 is best, negative is a gain.

    `similarity` is per frame, NaN where there is nothing to compare. In [-2, 2]; NaN when a quarter has no value.
    Deviation: ours."""
    return 0.0 - float(_change(similarity[:, None])[0])  # so that no loss is 0 and not -0


def _change(values: Float64[np.ndarray, "f c"]) -> Float64[np.ndarray, " c"]:
    """Mean over the last quarter minus mean over the first, leaving out NaN."""
    if len(values) < MIN_FRAMES:
        return np.full(values.shape[1], math.nan)
    part = max(len(values) // PART, 1)
    return _mean(values[-part:]) - _mean(values[:part])


def _mean(values: Float64[np.ndarray, "f c"]) -> Float64[np.ndarray, " c"]:
    kept = values[np.isfinite(values).all(axis=1)]
    return kept.mean(axis=0) if len(kept) else np.full(values.shape[1], math.nan)
