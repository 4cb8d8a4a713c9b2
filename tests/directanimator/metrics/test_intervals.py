import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.metrics.intervals import Interval, bootstrap_mean, paired_difference

NUMBERS = st.floats(-1e3, 1e3)
SAMPLES = st.lists(NUMBERS, min_size=2, max_size=30)
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=30)


def ends(interval: Interval) -> tuple[float, float, float]:
    return interval.low, interval.mean, interval.high


def normal(n: int, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).standard_normal(n).tolist()


@given(SAMPLES)
def test_the_interval_contains_the_mean_and_lies_within_the_values(values):
    found = bootstrap_mean(values)
    assert found.low <= found.mean <= found.high
    assert found.mean == pytest.approx(sum(values) / len(values), abs=1e-9)
    assert min(values) - 1e-9 <= found.low
    assert found.high <= max(values) + 1e-9


@given(SAMPLES, NUMBERS)
def test_shifted_values_shift_the_interval(values, shift):
    moved = bootstrap_mean([value + shift for value in values])
    assert ends(moved) == pytest.approx([end + shift for end in ends(bootstrap_mean(values))], abs=1e-6)


@given(SAMPLES, st.floats(0.01, 100))
def test_scaled_values_scale_the_interval(values, factor):
    scaled = bootstrap_mean([value * factor for value in values])
    assert ends(scaled) == pytest.approx([end * factor for end in ends(bootstrap_mean(values))], rel=1e-6, abs=1e-6)


@given(PAIRS)
def test_swapping_the_two_flips_the_sign(pairs):
    first, second = zip(*pairs, strict=True)
    flipped = [-end for end in reversed(ends(paired_difference(first, second)))]
    assert ends(paired_difference(second, first)) == pytest.approx(flipped, abs=1e-6)


@given(PAIRS, st.lists(NUMBERS, min_size=30, max_size=30))
def test_how_hard_a_clip_is_does_not_matter_to_the_difference(pairs, hardness):
    first, second = zip(*pairs, strict=True)
    easy = paired_difference(first, second)
    hard = paired_difference(
        [a + h for a, h in zip(first, hardness, strict=False)], [b + h for b, h in zip(second, hardness, strict=False)]
    )
    assert ends(hard) == pytest.approx(ends(easy), abs=1e-6)


def test_the_interval_shrinks_with_the_root_of_n():
    widths = [found.high - found.low for found in (bootstrap_mean(normal(n)) for n in (25, 100, 400, 1600))]
    ratios = [wide / narrow for wide, narrow in itertools.pairwise(widths)]
    assert all(1.5 < ratio < 2.7 for ratio in ratios)


def test_a_higher_level_is_wider():
    narrow, wide = (bootstrap_mean(normal(30), level=level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_interval_covers_the_truth_as_often_as_it_says():
    hits = [found.low <= 0 <= found.high
            for found in (bootstrap_mean(normal(40, seed), samples=500, seed=seed) for seed in range(400))]  # fmt: skip
    assert 0.90 <= sum(hits) / len(hits) <= 0.98


@given(SAMPLES)
def test_the_same_seed_gives_the_same_interval(values):
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)


@given(SAMPLES, st.integers(0, 5))
def test_clips_without_a_value_are_left_out_and_counted(values, missing):
    whole, holed = bootstrap_mean(values), bootstrap_mean([math.nan] * missing + values)
    assert (ends(holed), holed.n, holed.dropped) == (ends(whole), len(values), missing)


def test_a_clip_that_lacks_either_value_is_dropped_from_both():
    found = paired_difference([1.0, math.nan, 3.0, 9.0], [0.0, 5.0, math.nan, 7.0])
    assert (found.mean, found.n, found.dropped) == (1.5, 2, 2)


def test_one_clip_says_nothing_about_others():
    found = bootstrap_mean([7.0])
    assert (ends(found), found.excludes_zero) == ((-math.inf, 7, math.inf), False)


def test_no_clip_has_no_mean():
    found = bootstrap_mean([math.nan])
    assert (found.n, found.dropped, found.excludes_zero) == (0, 1, False)
    assert all(math.isnan(end) for end in ends(found))


@given(st.lists(st.floats(0.5, 9), min_size=6, max_size=12), st.sampled_from([1, -1]))
def test_values_of_one_sign_exclude_zero(values, sign):
    assert bootstrap_mean([sign * value for value in values]).excludes_zero


@given(st.lists(st.floats(0.5, 9), min_size=1, max_size=5))
def test_too_few_clips_exclude_nothing(values):
    assert not bootstrap_mean(values).excludes_zero


@given(st.lists(st.floats(0.5, 9), min_size=3, max_size=12))
def test_values_of_both_signs_in_balance_do_not_exclude_zero(values):
    assert not bootstrap_mean(values + [-value for value in values]).excludes_zero


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="same clips"):
        paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="level"):
        bootstrap_mean([1.0], level=95.0)
    with pytest.raises(ValueError, match="samples"):
        bootstrap_mean([1.0], samples=0)
