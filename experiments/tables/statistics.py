"""What a table may claim: paired differences over seeds, their intervals, and verdicts that bound the error of all.

The rule, in the order of its steps. A variant and the baseline are compared on the same seeds and clips. A seed is one
training, so it is the unit that is resampled: the clips of a seed share its luck and are no further evidence on how
another training would come out. The test clips are taken as they are. The standard error is that of the cluster
bootstrap over seeds, with Student's t for as few clusters. Confirmed: the difference goes where it was expected, with
a one-sided error of 5 % over the whole table (Holm), and is at least as large as what counts. Refuted: a difference
that counts is excluded, with the same error. Everything else is not distinguishable. One seed, or several that differ
by the very same: no interval, no verdict, since nothing tells how others would come out.

Source: Holm 1979; Cameron, Gelbach and Miller 2008 (few clusters: cluster bootstrap standard error with t)."""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64
from scipy.optimize import brentq
from scipy.special import chdtri, ndtr, stdtr, stdtrit

from directanimator.errors import UserError

Samples = Mapping[int, Mapping[int, float]]
"""A metric of one variant by seed, then by clip; NaN where a clip has no such value."""
Direction = Literal["lower", "higher"]
Verdict = Literal["confirmed", "refuted", "not distinguishable", "no verdict"]

ERROR = 0.05
"""Chance, over a whole table, of confirming or of refuting anything wrongly; each of the two on its own."""
INTERVAL_LEVEL = 1 - 2 * ERROR
"""Level of the intervals: both ends are one-sided bounds at the table's error, before Holm's correction."""
POWER = 0.8
"""Chance of finding the minimum detectable effect."""
_ROUNDING = 1e-12
"""Relative difference up to which seeds are equal."""
_QUADRATURE = 4096
"""Equally likely spreads over which power is averaged."""


@dataclass(frozen=True)
class Effect:
    """Variant minus baseline on the same seeds and clips."""

    by_seed: tuple[float, ...]
    """Mean over clips for each seed, in the order of seeds."""
    seeds: tuple[int, ...]
    clips: int
    """Pairs of seed and clip that counted."""

    @property
    def difference(self) -> float:
        """Mean over seeds."""
        return math.fsum(self.by_seed) / len(self.by_seed)

    @property
    def standard_error(self) -> float:
        """Of the difference; NaN with one seed, or with several that are equal and so show no spread.

        What the bootstrap that draws whole seeds gives without end, times n / (n - 1) in variance, which it lacks."""
        n = len(self.by_seed)
        if max(self.by_seed) - min(self.by_seed) <= _ROUNDING * max(map(abs, self.by_seed)):
            return math.nan
        center = self.difference
        return math.hypot(*(value - center for value in self.by_seed)) / math.sqrt((n - 1) * n)


@dataclass(frozen=True)
class Hypothesis:
    """What was expected before anything was measured."""

    direction: Direction
    at_least: float
    """Smallest difference that counts, above 0."""


@dataclass(frozen=True)
class Judgement:
    """An effect, how sure it is, and what follows for the hypothesis."""

    effect: Effect
    verdict: Verdict
    low: float
    """Lower end of the interval; NaN without a standard error, like all below."""
    high: float
    p_confirmed: float
    """Chance of a difference so far in the expected direction if there is none; corrected by Holm."""
    p_refuted: float
    """Chance of a difference so far below what counts if it is that large; corrected by Holm."""
    detectable: float
    """True difference that these seeds would confirm with 80 % power, were this the table's strictest test; what counts
    at least."""


def paired_effect(variant: Samples, baseline: Samples) -> Effect:
    """The effect over the seeds and clips where both have a value; a seed that has none is left out.

    Raises: UserError if no seed and clip is left."""
    by_seed: dict[int, float] = {}
    clips = 0
    for seed in sorted(variant.keys() & baseline.keys()):
        ours, theirs = variant[seed], baseline[seed]
        differences = [ours[clip] - theirs[clip] for clip in ours.keys() & theirs.keys()]
        kept = [value for value in differences if not math.isnan(value)]
        if kept:
            by_seed[seed] = math.fsum(kept) / len(kept)
            clips += len(kept)
    if not by_seed:
        raise UserError("nothing to compare: the variant and the baseline share no seed and clip with a value")
    return Effect(tuple(by_seed.values()), tuple(by_seed), clips)


def interval(effect: Effect, level: float = INTERVAL_LEVEL) -> tuple[float, float]:
    """Ends of the two-sided interval of the difference; both NaN without a standard error."""
    reach = float(stdtrit(len(effect.by_seed) - 1, (1 + level) / 2)) * effect.standard_error
    return effect.difference - reach, effect.difference + reach


def power(difference: float, spread: float, seeds: int, at_least: float = 0.0, error: float = ERROR) -> float:
    """Chance that `seeds` confirm a true `difference` >= 0, about which they spread by `spread`; in [0, 1].

    The one-sided t test has to find it, and what is observed has to count.
    Integrated over the spread that is observed, of which the mean is independent.
    Raises: ValueError for fewer than two seeds, a spread that is not positive, or at_least below 0."""
    if seeds < 2 or not spread > 0 or at_least < 0:
        given = f"{seeds}, {spread} and {at_least}"
        raise ValueError(f"power needs two seeds, a positive spread and a size from 0 on, got {given}")
    return _power_in_spreads(difference / spread, seeds, at_least / spread, error)


@functools.cache
def _observed_spreads(seeds: int) -> Float64[np.ndarray, " q"]:
    """Spreads that so many seeds may show of a true one of 1, each as likely as the next."""
    shares = (np.arange(_QUADRATURE) + 0.5) / _QUADRATURE
    return np.sqrt(chdtri(seeds - 1, shares) / (seeds - 1))


def _power_in_spreads(difference: float, seeds: int, at_least: float, error: float) -> float:
    critical = float(stdtrit(seeds - 1, 1 - error))
    needed = np.maximum(at_least, critical * _observed_spreads(seeds) / math.sqrt(seeds))
    return float(ndtr((difference - needed) * math.sqrt(seeds)).mean())


def detectable(effect: Effect, at_least: float = 0.0, error: float = ERROR) -> float:
    """The smallest true difference that the seeds, spread as they are, would confirm with 80 % power; NaN without a
    standard error.

    Judged from a spread that is itself measured on the few seeds."""
    n = len(effect.by_seed)
    spread = effect.standard_error * math.sqrt(n)
    if math.isnan(spread):
        return math.nan
    if spread <= _ROUNDING * at_least:
        return at_least
    return spread * _detectable_in_spreads(n, at_least / spread, error)


def _detectable_in_spreads(seeds: int, at_least: float, error: float) -> float:
    most = max(1.0, 2 * at_least)
    while _power_in_spreads(most, seeds, at_least, error) < POWER:
        most *= 2
    return float(brentq(lambda difference: _power_in_spreads(difference, seeds, at_least, error) - POWER, 0.0, most))


def holm(values: Sequence[float]) -> list[float]:
    """The p-values corrected so that all together keep the error; each at least what it was, at most 1.

    Source: Holm 1979."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    corrected, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest
    return corrected


def strictest_error(effects: Iterable[Effect]) -> float:
    """The error that the first test of all is left with by Holm. What has no standard error is not tested, and does not
    count."""
    return ERROR / max(1, sum(not math.isnan(effect.standard_error) for effect in effects))


def judge(effects: Mapping[str, tuple[Effect, Hypothesis]]) -> dict[str, Judgement]:
    """The verdict on every variant of a table, by name, corrected for their number.

    A variant without a standard error is not tested, and does not count.
    Raises: ValueError if what counts is not above 0."""
    for name, (_, hypothesis) in effects.items():
        if not hypothesis.at_least > 0:
            raise ValueError(f"{name}: the smallest difference that counts must be above 0, got {hypothesis.at_least}")
    tested = [name for name, (effect, _) in effects.items() if not math.isnan(effect.standard_error)]
    for_it = dict(zip(tested, holm([_p_above(*effects[name], threshold=0.0) for name in tested]), strict=True))
    against = dict(zip(tested, holm([_p_below(*effects[name]) for name in tested]), strict=True))
    strictest = strictest_error(effect for effect, _ in effects.values())
    judged = {}
    for name, (effect, hypothesis) in effects.items():
        low, high = interval(effect)
        p_confirmed, p_refuted = for_it.get(name, math.nan), against.get(name, math.nan)
        verdict = _verdict(_expected_way(effect, hypothesis), hypothesis.at_least, p_confirmed, p_refuted)
        least = detectable(effect, hypothesis.at_least, strictest)
        judged[name] = Judgement(effect, verdict, low, high, p_confirmed, p_refuted, least)
    return judged


def _verdict(way: float, at_least: float, p_confirmed: float, p_refuted: float) -> Verdict:
    if math.isnan(p_confirmed):
        return "no verdict"
    if p_confirmed <= ERROR and way >= at_least:
        return "confirmed"
    return "refuted" if p_refuted <= ERROR else "not distinguishable"


def _expected_way(effect: Effect, hypothesis: Hypothesis) -> float:
    """The difference, positive where it goes the expected way."""
    return effect.difference if hypothesis.direction == "higher" else -effect.difference


def _p_above(effect: Effect, hypothesis: Hypothesis, threshold: float) -> float:
    """Chance of going so far beyond the threshold, were the true difference there."""
    return _tail(_expected_way(effect, hypothesis) - threshold, effect)


def _p_below(effect: Effect, hypothesis: Hypothesis) -> float:
    return _tail(hypothesis.at_least - _expected_way(effect, hypothesis), effect)


def _tail(distance: float, effect: Effect) -> float:
    return float(stdtr(len(effect.by_seed) - 1, -distance / effect.standard_error))
