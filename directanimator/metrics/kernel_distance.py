"""The kernel distance between two sets of features: without small-sample bias, unlike the Frechet distance."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Real

MIN_CLIPS = 2
DEGREE = 3
ROWS_AT_ONCE = 256


def kernel_distance(
    first: Sequence[Real[np.ndarray, "_ d"]], second: Sequence[Real[np.ndarray, "_ d"]], paired: bool = True
) -> float:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3 of two sets of clips, each with the features of its frames
    or windows; symmetric, and 0 on average if all come from one distribution.

    It may be negative: an unbiased estimate of zero has to be. Features of one clip are alike, so that no pair of them
    is looked at. If `paired`, a clip of the first set and the one at its place in the second are one clip in two
    versions, and sets that are equal are at 0. Called KID over frames and KVD over windows.
    Raises: ValueError if a set has fewer than two clips with features, paired sets differ in their number of clips,
    the widths differ, or a feature is not finite.
    Source: Binkowski et al. 2018; Gretton et al. 2012 for pairs. Deviation: over the whole sets at once, not over
    random blocks."""
    for clips in (first, second):
        count = sum(len(features) > 0 for features in clips)
        if count < MIN_CLIPS:
            raise ValueError(f"a set has {count} clips, the unbiased distance needs {MIN_CLIPS}")
    if paired and len(first) != len(second):
        raise ValueError(f"paired sets hold the same clips, got {len(first)} and {len(second)}")
    one, other = np.concatenate(first), np.concatenate(second)
    if one.shape[1] != other.shape[1]:
        raise ValueError(f"features must have one width, got {one.shape[1]} and {other.shape[1]}")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ValueError("a set holds features that are not finite")
    places, others = _places(first), _places(second) if paired else _places(second) + len(first)
    within = _mean_of_pairs(one, one, places, places) + _mean_of_pairs(other, other, others, others)
    return within - 2 * _mean_of_pairs(one, other, places, others)


def _places(clips: Sequence[np.ndarray]) -> np.ndarray:
    """The place of the clip of every feature vector."""
    return np.repeat(np.arange(len(clips)), [len(features) for features in clips])


def _mean_of_pairs(first: np.ndarray, second: np.ndarray, places: np.ndarray, others: np.ndarray) -> float:
    """Mean over pairs of different clips; of all frames of a test set there are too many pairs to hold at once."""
    total, count = 0.0, 0
    for start in range(0, len(first), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        apart: Bool[np.ndarray, "n m"] = places[rows, None] != others[None]
        total += float(_kernel(first[rows], second).sum(where=apart))
        count += int(apart.sum())
    return total / count


def _kernel(first: Real[np.ndarray, "n d"], second: Real[np.ndarray, "m d"]) -> Float64[np.ndarray, "n m"]:
    return np.asarray((first.astype(np.float64) @ second.astype(np.float64).T / first.shape[1] + 1) ** DEGREE)
