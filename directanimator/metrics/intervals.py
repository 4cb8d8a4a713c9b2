"""How sure a mean over clips is: bootstrap intervals, and differences on the same clips."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float64

MIN_CLIPS = 6
"""Fewest clips that can exclude anything: five that agree in sign do so by chance in 1 of 16 cases."""


@dataclass(frozen=True)
class Interval:
    """A mean and where it could have been with other clips of the same kind; low <= mean <= high.

    Both ends are NaN where all clips say the very same, which shows no spread."""

    mean: float
    low: float
    high: float
    n: int
    """Clips that counted."""
    dropped: int = 0
    """Clips left out because they had no value (NaN)."""

    @property
    def excludes_zero(self) -> bool:
        """True when the whole interval lies on one side of zero, and at least 6 clips say so."""
        return self.n >= MIN_CLIPS and (self.low > 0 or self.high < 0)


def mean_interval(values: Sequence[float], samples: int = 2000, level: float = 0.95, seed: int = 0) -> Interval:
    """The mean with its percentile bootstrap interval; NaN values are dropped and counted.

    One clip says nothing about others: its interval is infinite. No clip: all NaN.
    Raises: ValueError unless samples >= 1 and 0 < level < 1.
    Source: Efron 1979. A little narrow for fewer than about 15 clips."""
    if samples < 1 or not 0 < level < 1:
        raise ValueError(f"samples must be at least 1 and level between 0 and 1, got {samples} and {level}")
    everything = np.asarray(values, np.float64)
    kept = everything[~np.isnan(everything)]
    dropped = everything.size - kept.size
    if kept.size == 0:
        return Interval(math.nan, math.nan, math.nan, 0, dropped)
    mean = float(kept.mean())
    if kept.size == 1:
        return Interval(mean, -math.inf, math.inf, 1, dropped)
    if np.ptp(kept) == 0:
        return Interval(mean, math.nan, math.nan, kept.size, dropped)
    low, high = np.quantile(_resampled_means(kept, samples, seed), [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, min(float(low), mean), max(float(high), mean), kept.size, dropped)


def share_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The share of clips that have what each either has (1) or lacks (0), with Wilson's interval, which also bounds a
    share of which no other case was seen; NaN values are dropped and counted. One clip, no clip: as `mean_interval`.

    Raises: ValueError for a value between, and unless 0 < level < 1.
    Source: Wilson 1927."""
    found = mean_interval(values, samples=1, level=level)
    for value in values:
        if not math.isnan(value) and value not in (0, 1):
            raise ValueError(f"a clip has it (1) or lacks it (0), got {value}")
    if found.n < 2:
        return found
    low, high = _share_ends(found.mean, found.n, level)
    return Interval(found.mean, low, high, found.n, found.dropped)


def paired_difference(
    first: Sequence[float], second: Sequence[float], samples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """The mean of first minus second on the same clips, with its interval; a clip that lacks either value is dropped.

    Pairing removes how hard a clip is from the comparison, which is most of the spread.
    Raises: ValueError if the numbers of clips differ."""
    if len(first) != len(second):
        raise ValueError(f"both must hold the same clips, got {len(first)} and {len(second)}")
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    return mean_interval(differences.tolist(), samples, level, seed)


def _share_ends(share: float, n: int, level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + level) / 2)
    center, reach = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return min(share, (center - reach) / scale), max(share, (center + reach) / scale)


def _resampled_means(values: Float64[np.ndarray, " n"], samples: int, seed: int) -> Float64[np.ndarray, " samples"]:
    chosen = np.random.default_rng(seed).integers(0, values.size, (samples, values.size))
    return values[chosen].mean(axis=1)
