"""The Frechet distance between two sets of features, and how much of it is only the smallness of the sets."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Real

MIN_ITEMS = 2
"""One item has no covariance."""
MIN_CLIPS_FOR_BIAS = 8
"""Quarters of the set must hold two clips each."""
_ROUNDING = 1e-12


def frechet_distance(first: Real[np.ndarray, "n d"], second: Real[np.ndarray, "m d"]) -> float:
    """Squared Frechet distance between Gaussians fitted to the sets, >= 0; 0 for equal sets, symmetric.

        |mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))

    The trace of the root is the sum of the singular values of A B^T for any A^T A = C_1, B^T B = C_2, so no matrix root
    is taken: exact in float64 also where the covariances are singular, as they are when the set is smaller than d.
    Raises: ValueError if a set has fewer than two items, the widths differ, or a feature is not finite.
    Source: Heusel et al. 2017, with the unbiased covariance (n - 1)."""
    mean_1, factor_1 = _gaussian(first, "first")
    mean_2, factor_2 = _gaussian(second, "second")
    if mean_1.shape != mean_2.shape:
        raise ValueError(f"features must have one width, got {mean_1.size} and {mean_2.size}")
    spread = float((factor_1**2).sum() + (factor_2**2).sum())
    shared = float(np.linalg.svd(factor_1 @ factor_2.T, compute_uv=False).sum())
    distance = float(((mean_1 - mean_2) ** 2).sum()) + spread - 2 * shared
    return 0.0 if distance < _ROUNDING * spread else distance


def small_sample_bias(clips: Sequence[Real[np.ndarray, "_ d"]], splits: int = 8, seed: int = 0) -> float:
    """What the Frechet distance between two independent sets of as many clips would be if both came from the
    distribution of `clips`, each with the features of its frames or windows.

    Random disjoint halves and quarters of the clips are compared with each other; their mean distances, at n/2 and n/4
    clips, are continued to n by a power law. Answers to the very clips that they are compared with may come nearer. NaN
    for fewer than 8 clips, which have no quarters.
    Deviation: ours; FID-infinity (Chong and Forsyth 2020) continues linearly in 1/n, which holds only for n >> d."""
    kept = [features for features in clips if len(features)]
    if len(kept) < MIN_CLIPS_FOR_BIAS:
        return math.nan
    half = _mean_between_parts(kept, len(kept) // 2, splits, seed)
    quarter = _mean_between_parts(kept, len(kept) // 4, splits, seed)
    return half * min(half / quarter, 1.0) if quarter > 0 else 0.0


def _mean_between_parts(clips: Sequence[np.ndarray], size: int, splits: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(clips)) for _ in range(splits)]
    parts = [[np.concatenate([clips[k] for k in order[start:][:size]]) for start in (0, size)] for order in orders]
    return float(np.mean([frechet_distance(first, second) for first, second in parts]))


def _gaussian(
    features: Real[np.ndarray, "n d"], name: str
) -> tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, "r d"]]:
    """Mean, and a factor of the covariance with at most d rows."""
    if len(features) < MIN_ITEMS:
        raise ValueError(f"the {name} set has {len(features)} items, a covariance needs {MIN_ITEMS}")
    values = features.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"the {name} set holds features that are not finite")
    mean = values.mean(axis=0)
    factor = (values - mean) / math.sqrt(len(values) - 1)
    return mean, factor if len(factor) <= factor.shape[1] else np.asarray(np.linalg.qr(factor, mode="r"))
