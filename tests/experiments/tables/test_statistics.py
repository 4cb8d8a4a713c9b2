"""Verdicts: what they may not depend on, and how often they are wrong."""

import itertools
import math
import random
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nct, t

from directanimator.errors import UserError
from experiments.tables.statistics import (
    ERROR,
    POWER,
    Effect,
    Hypothesis,
    detectable,
    holm,
    interval,
    judge,
    paired_effect,
    power,
)

NUMBERS = st.floats(-100, 100)
EITHER = st.sampled_from(["lower", "higher"])
SPREAD = st.lists(NUMBERS, min_size=2, max_size=4).filter(lambda values: np.ptp(values) > 1e-6)
"""Of seeds that differ."""
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@st.composite
def samples(draw: st.DrawFn, least_seeds: int = 1) -> tuple[dict[int, dict[int, float]], dict[int, dict[int, float]]]:
    """Variant and baseline on shared seeds and clips, some values missing."""
    seeds = draw(st.sets(st.integers(0, 20), min_size=least_seeds, max_size=4))
    clips = draw(st.sets(st.integers(0, 50), min_size=1, max_size=5))
    one = {seed: {clip: draw(NUMBERS) for clip in clips} for seed in seeds}
    other = {seed: {clip: draw(NUMBERS) for clip in clips} for seed in seeds}
    return one, other


def shuffled(values: Mapping[int, Mapping[int, float]], rng: random.Random) -> dict[int, dict[int, float]]:
    def mixed(pairs):
        return rng.sample(pairs, len(pairs))

    return {seed: dict(mixed(list(clips.items()))) for seed, clips in mixed(list(values.items()))}


def effect_of(*by_seed: float) -> Effect:
    return Effect(by_seed, tuple(range(len(by_seed))), len(by_seed))


def effects_of(draws: np.ndarray) -> dict[str, Effect]:
    return {str(number): effect_of(*row) for number, row in enumerate(draws)}


@given(samples(), st.randoms(use_true_random=False))
def test_the_order_of_runs_and_clips_does_not_matter(pair, rng):
    variant, baseline = pair
    assert paired_effect(shuffled(variant, rng), shuffled(baseline, rng)) == paired_effect(variant, baseline)


@given(st.lists(st.lists(NUMBERS, min_size=2, max_size=4), min_size=1, max_size=5), EITHER, st.randoms())
def test_a_verdict_does_not_depend_on_the_order_of_variants_or_seeds(rows, direction, rng):
    table = {str(n): (effect_of(*row), Hypothesis(direction, 0.5)) for n, row in enumerate(rows)}
    mixed = {
        name: (effect_of(*rng.sample(effect.by_seed, len(effect.by_seed))), hypothesis)
        for name, (effect, hypothesis) in rng.sample(list(table.items()), len(table))
    }
    straight, other = judge(table), judge(mixed)
    for name, found in straight.items():
        assert other[name].verdict == found.verdict
        there = (other[name].p_confirmed, other[name].low, other[name].high)
        assert there == pytest.approx((found.p_confirmed, found.low, found.high), rel=0, abs=0, nan_ok=True)


@given(samples(least_seeds=2))
def test_swapping_variant_and_baseline_negates_the_difference(pair):
    there, back = paired_effect(*pair), paired_effect(*reversed(pair))
    assert back.difference == -there.difference
    low, high = interval(there)
    assert interval(back) == pytest.approx((-high, -low), rel=0, abs=0, nan_ok=True)


@given(samples(least_seeds=2), EITHER)
def test_swapping_variant_and_baseline_turns_the_expectation_round(pair, direction):
    turned = "lower" if direction == "higher" else "higher"
    there = judge({"it": (paired_effect(*pair), Hypothesis(direction, 0.5))})["it"]
    back = judge({"it": (paired_effect(*reversed(pair)), Hypothesis(turned, 0.5))})["it"]
    assert there.verdict == back.verdict
    found = (there.p_confirmed, there.p_refuted)
    assert found == pytest.approx((back.p_confirmed, back.p_refuted), rel=0, abs=0, nan_ok=True)


@given(samples(), st.integers(0, 20), st.integers(0, 50))
def test_a_value_that_either_lacks_counts_for_neither(pair, seed, clip):
    variant, baseline = pair
    variant[seed] = {**variant.get(seed, {}), clip: math.nan}
    without = {s: {c: v for c, v in clips.items() if (s, c) != (seed, clip)} for s, clips in baseline.items()}
    if not any(set(variant[s]) & set(without.get(s, {})) for s in variant):
        return
    assert paired_effect(variant, baseline) == paired_effect(variant, without)


def test_nothing_in_common_is_refused():
    with pytest.raises(UserError, match="share no seed and clip"):
        paired_effect({0: {0: 1.0}}, {1: {0: 1.0}})


@given(SPREAD)
def test_the_standard_error_is_that_of_all_bootstrap_draws_of_whole_seeds(by_seed):
    n = len(by_seed)
    means = [sum(draw) / n for draw in itertools.product(by_seed, repeat=n)]
    variance = sum((mean - sum(by_seed) / n) ** 2 for mean in means) / len(means)
    expected = math.sqrt(variance * n / (n - 1))
    assert effect_of(*by_seed).standard_error == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_clips_of_one_seed_are_no_further_seeds():
    """A hundred clips that all share their seed's luck say no more than one clip would."""
    few = paired_effect({s: {0: value} for s, value in enumerate((1.0, 2.0, 4.0))}, {s: {0: 0.0} for s in range(3)})
    many = paired_effect(
        {s: dict.fromkeys(range(100), value) for s, value in enumerate((1.0, 2.0, 4.0))},
        {s: dict.fromkeys(range(100), 0.0) for s in range(3)},
    )
    assert interval(many) == pytest.approx(interval(few))


def rate_band(trials: int, rate: float = ERROR, widths: float = 3.5) -> tuple[float, float]:
    reach = widths * math.sqrt(rate * (1 - rate) / trials)
    return rate - reach, rate + reach


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_without_an_effect_a_twentieth_is_confirmed(seeds, direction):
    """What counts is next to nothing here; a larger one only makes confirming rarer."""
    trials = 1500
    draws = np.random.default_rng(seeds).normal(size=(trials, seeds))
    strict, lax = Hypothesis(direction, 2.0), Hypothesis(direction, 1e-12)
    found = [judge({"it": (effect, lax)})["it"].verdict for effect in effects_of(draws).values()]
    low, high = rate_band(trials)
    assert low < found.count("confirmed") / trials < high
    rarer = [judge({"it": (effect, strict)})["it"].verdict for effect in effects_of(draws).values()]
    assert rarer.count("confirmed") <= found.count("confirmed")


def test_over_a_whole_table_without_effects_a_twentieth_confirms_anything():
    trials, variants = 600, 6
    draws = np.random.default_rng(7).normal(size=(trials, variants, 3))
    tables = [{n: (e, Hypothesis("lower", 1e-12)) for n, e in effects_of(rows).items()} for rows in draws]
    wrong = [any(one.verdict == "confirmed" for one in judge(table).values()) for table in tables]
    low, high = rate_band(trials)
    assert low < sum(wrong) / trials < high


def test_an_effect_of_just_the_size_that_counts_is_refuted_in_a_twentieth():
    trials = 1500
    draws = np.random.default_rng(3).normal(loc=1.0, size=(trials, 3))
    verdicts = [judge({"it": (e, Hypothesis("higher", 1.0))})["it"].verdict for e in effects_of(draws).values()]
    low, high = rate_band(trials)
    assert low < verdicts.count("refuted") / trials < high


@given(st.sampled_from([(2, 6.0), (3, 1.5), (5, 1.0), (8, 0.4)]), st.floats(0.001, 0.2))
def test_power_without_a_least_size_is_that_of_the_noncentral_t_test(case, error):
    seeds, difference = case
    critical = t.isf(error, seeds - 1)
    expected = nct.sf(critical, seeds - 1, difference * math.sqrt(seeds) / 0.9)
    assert power(difference, 0.9, seeds, 0.0, error) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(("at_least", "difference"), [(1e-12, 1.5), (1.0, 1.1), (1.0, 0.9), (3.0, 3.0)])
def test_power_is_the_rate_of_confirming(at_least, difference):
    trials = 1500
    draws = np.random.default_rng(11).normal(loc=difference, scale=0.4, size=(trials, 3))
    hypothesis = Hypothesis("higher", at_least)
    verdicts = [judge({"it": (effect, hypothesis)})["it"].verdict for effect in effects_of(draws).values()]
    expected = power(difference, 0.4, 3, at_least)
    assert 0.05 < expected < 0.99
    low, high = rate_band(trials, expected)
    assert low < verdicts.count("confirmed") / trials < high


@settings(max_examples=20)
@given(st.lists(NUMBERS, min_size=2, max_size=5), st.floats(0, 3), st.floats(0.001, 0.05))
def test_the_detectable_effect_is_confirmed_with_the_stated_power(by_seed, least_in_spreads, error):
    effect = effect_of(*by_seed)
    spread = float(np.std(by_seed, ddof=1))
    if spread > 1e-6:
        at_least = least_in_spreads * spread
        found = detectable(effect, at_least, error)
        assert found >= at_least
        assert power(found, spread, len(by_seed), at_least, error) == pytest.approx(POWER, abs=1e-4)


@given(NUMBERS, EITHER)
def test_one_seed_gets_no_interval_and_no_verdict(value, direction):
    (judged,) = judge({"it": (effect_of(value), Hypothesis(direction, 0.1))}).values()
    assert judged.verdict == "no verdict"
    assert all(map(math.isnan, (judged.low, judged.high, judged.p_confirmed, judged.p_refuted, judged.detectable)))
    assert judged.effect.difference == value


@given(SPREAD, EITHER)
def test_one_seed_beside_others_does_not_count_in_the_correction(by_seed, direction):
    hypothesis = Hypothesis(direction, 0.5)
    alone = judge({"it": (effect_of(*by_seed), hypothesis)})["it"]
    beside = judge({"one": (effect_of(3.0), hypothesis), "it": (effect_of(*by_seed), hypothesis)})["it"]
    assert beside == alone


@given(SPREAD, EITHER, st.floats(0.01, 10))
def test_a_verdict_means_what_it_says(by_seed, direction, at_least):
    judged = judge({"it": (effect_of(*by_seed), Hypothesis(direction, at_least))})["it"]
    sign = 1 if direction == "higher" else -1
    near, far = sorted((sign * judged.low, sign * judged.high))
    slack = 1e-6 * (1 + abs(near) + abs(far))
    if judged.verdict == "confirmed":
        assert sign * judged.effect.difference >= at_least
        assert near >= -slack
    elif judged.verdict == "refuted":
        assert far <= at_least + slack
    else:
        assert near <= slack or sign * judged.effect.difference < at_least
        assert far >= at_least - slack


@given(P_VALUES)
def test_holm_keeps_the_order_and_lies_between_none_and_bonferroni(values):
    corrected = holm(values)
    for p, found in zip(values, corrected, strict=True):
        assert p <= found <= min(1.0, len(values) * p) + 1e-15
    for (p, a), (q, b) in itertools.combinations(zip(values, corrected, strict=True), 2):
        assert (a <= b) if p <= q else (b <= a)


@pytest.mark.parametrize(
    ("values", "corrected"), [([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]), ([0.2], [0.2]), ([0.5, 0.6], [1.0, 1.0])]
)
def test_holm_by_hand(values, corrected):
    assert holm(values) == pytest.approx(corrected)


@settings(max_examples=10)
@given(SPREAD, EITHER)
def test_more_variants_never_make_a_verdict_easier(by_seed, direction):
    hypothesis = Hypothesis(direction, 0.5)
    alone = judge({"it": (effect_of(*by_seed), hypothesis)})["it"]
    crowd = {str(n): (effect_of(0.1, -0.2, 0.15), hypothesis) for n in range(5)}
    crowded = judge({"it": (effect_of(*by_seed), hypothesis), **crowd})["it"]
    assert crowded.p_confirmed >= alone.p_confirmed
    assert crowded.detectable >= alone.detectable


@given(NUMBERS, st.integers(2, 5), EITHER, st.floats(0.01, 10))
def test_seeds_that_differ_by_the_very_same_tell_nothing_of_others(value, seeds, direction, at_least):
    """One clip of 48 in each of three seeds is no certainty."""
    (judged,) = judge({"it": (effect_of(*[value] * seeds), Hypothesis(direction, at_least))}).values()
    assert judged.verdict == "no verdict"
    assert all(map(math.isnan, (judged.low, judged.high, judged.p_confirmed, judged.p_refuted, judged.detectable)))
    assert judged.effect.difference == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("by_seed", "at_least", "verdict"),
    [
        ((1.0, 1.2, 1.4), 1.0, "confirmed"),
        ((1.0, 1.2, 1.4), 1.3, "not distinguishable"),  # surely above zero, perhaps too small
        ((1.0, 1.2, 1.4), 2.0, "refuted"),  # surely above zero, surely too small
        ((-1.0, 1.2, 1.4), 1.0, "not distinguishable"),
        ((-1.0, -1.2, -1.4), 1.0, "refuted"),
    ],
)
def test_verdicts_by_hand(by_seed, at_least, verdict):
    assert judge({"it": (effect_of(*by_seed), Hypothesis("higher", at_least))})["it"].verdict == verdict
    mirrored = effect_of(*(-value for value in by_seed))
    assert judge({"it": (mirrored, Hypothesis("lower", at_least))})["it"].verdict == verdict
