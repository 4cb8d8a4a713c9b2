"""The kernel distance between two sets of features: without small-sample bias, unlike the Frechet distance."""

import numpy as np
from jaxtyping import Float64, Real

MIN_ITEMS = 2
DEGREE = 3


def kernel_distance(first: Real[np.ndarray, "n d"], second: Real[np.ndarray, "m d"]) -> float:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3; 0 on average for sets of one distribution, symmetric.

    It may be negative: an unbiased estimate of zero has to be. Called KID over frames and KVD over clips.
    Raises: ValueError if a set has fewer than two items, the widths differ, or a feature is not finite.
    Source: Binkowski et al. 2018. Deviation: over the whole sets at once, not over random blocks."""
    for features in (first, second):
        if len(features) < MIN_ITEMS:
            raise ValueError(f"a set has {len(features)} items, the unbiased distance needs {MIN_ITEMS}")
        if not np.isfinite(features).all():
            raise ValueError("a set holds features that are not finite")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features must have one width, got {first.shape[1]} and {second.shape[1]}")
    within = _mean_of_pairs(first) + _mean_of_pairs(second)
    return within - 2 * float(_kernel(first, second).mean())


def _mean_of_pairs(features: Real[np.ndarray, "n d"]) -> float:
    """Mean over pairs of different items."""
    values = _kernel(features, features)
    count = len(features)
    return float((values.sum() - np.trace(values)) / (count * (count - 1)))


def _kernel(first: Real[np.ndarray, "n d"], second: Real[np.ndarray, "m d"]) -> Float64[np.ndarray, "n m"]:
    return np.asarray((first.astype(np.float64) @ second.astype(np.float64).T / first.shape[1] + 1) ** DEGREE)
