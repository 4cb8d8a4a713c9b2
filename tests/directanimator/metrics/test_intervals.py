import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binomtest

from directanimator.metrics.intervals import Interval, mean_interval, paired_difference, share_interval

NUMBERS = st.floats(-1e3, 1e3)
SAMPLES = st.lists(NUMBERS, min_size=2, max_size=30).filter(lambda values: np.ptp(values) > 1e-6)
"""Of clips that are not all alike."""
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=30).filter(
    lambda pairs: np.ptp([first - second for first, second in pairs]) > 1e-6
)
SHARES = st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=60)


def ends(interval: Interval) -> tuple[float, float, float]:
    return interval.low, interval.mean, interval.high


def normal(n: int, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).standard_normal(n).tolist()


@given(SAMPLES)
def test_the_interval_contains_the_mean_and_lies_within_the_values(values):
    found = mean_interval(values)
    assert found.low <= found.mean <= found.high
    assert found.mean == pytest.approx(sum(values) / len(values), abs=1e-9)
    assert min(values) - 1e-9 <= found.low
    assert found.high <= max(values) + 1e-9


@given(SAMPLES, NUMBERS)
def test_shifted_values_shift_the_interval(values, shift):
    moved = mean_interval([value + shift for value in values])
    assert ends(moved) == pytest.approx([end + shift for end in ends(mean_interval(values))], abs=1e-6)


@given(SAMPLES, st.floats(0.01, 100))
def test_scaled_values_scale_the_interval(values, factor):
    scaled = mean_interval([value * factor for value in values])
    assert ends(scaled) == pytest.approx([end * factor for end in ends(mean_interval(values))], rel=1e-6, abs=1e-6)


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
    widths = [found.high - found.low for found in (mean_interval(normal(n)) for n in (25, 100, 400, 1600))]
    ratios = [wide / narrow for wide, narrow in itertools.pairwise(widths)]
    assert all(1.5 < ratio < 2.7 for ratio in ratios)


def test_a_higher_level_is_wider():
    narrow, wide = (mean_interval(normal(30), level=level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_interval_covers_the_truth_as_often_as_it_says():
    hits = [found.low <= 0 <= found.high
            for found in (mean_interval(normal(40, seed), samples=500, seed=seed) for seed in range(400))]  # fmt: skip
    assert 0.90 <= sum(hits) / len(hits) <= 0.98


@given(SAMPLES)
def test_the_same_seed_gives_the_same_interval(values):
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)


@given(SAMPLES, st.integers(0, 5))
def test_clips_without_a_value_are_left_out_and_counted(values, missing):
    whole, holed = mean_interval(values), mean_interval([math.nan] * missing + values)
    assert (ends(holed), holed.n, holed.dropped) == (ends(whole), len(values), missing)


def test_a_clip_that_lacks_either_value_is_dropped_from_both():
    found = paired_difference([1.0, math.nan, 3.0, 9.0], [0.0, 5.0, math.nan, 7.0])
    assert (found.mean, found.n, found.dropped) == (1.5, 2, 2)


@given(SHARES)
def test_the_interval_of_a_share_is_wilsons(values):
    found = share_interval(values)
    wanted = binomtest(int(sum(values)), len(values)).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)
    assert found.low < found.high


def test_a_share_is_covered_as_often_as_it_says_also_near_one():
    rng = np.random.default_rng(5)
    found = [share_interval((rng.random(48) < 0.97).astype(float).tolist()) for _ in range(600)]
    assert sum(one.low <= 0.97 <= one.high for one in found) / len(found) >= 0.92


@given(SHARES, st.integers(0, 5))
def test_clips_without_a_value_count_in_no_share(values, missing):
    whole, holed = share_interval(values), share_interval([math.nan] * missing + values)
    assert (ends(holed), holed.n, holed.dropped) == (ends(whole), len(values), missing)


def test_what_is_neither_yes_nor_no_is_no_share():
    with pytest.raises(ValueError, match=r"got 0\.5"):
        share_interval([1.0, math.nan, 0.5])


@given(NUMBERS, st.integers(2, 50))
@example(0.0, 48)
@example(1.0, 48)
def test_clips_that_all_say_the_very_same_show_no_spread(value, count):
    found = mean_interval([value] * count)
    assert found.mean == pytest.approx(value)
    assert (math.isnan(found.low), math.isnan(found.high), found.excludes_zero) == (True, True, False)
    apart = paired_difference([value + 1] * count, [value] * count)
    assert (math.isnan(apart.low), apart.excludes_zero) == (True, False)


def test_one_clip_says_nothing_about_others():
    found = mean_interval([7.0])
    assert (ends(found), found.excludes_zero) == ((-math.inf, 7, math.inf), False)


def test_no_clip_has_no_mean():
    found = mean_interval([math.nan])
    assert (found.n, found.dropped, found.excludes_zero) == (0, 1, False)
    assert all(math.isnan(end) for end in ends(found))


@given(SAMPLES.map(lambda values: [abs(value) + 0.5 for value in values] * 6), st.sampled_from([1, -1]))
def test_values_of_one_sign_exclude_zero(values, sign):
    assert mean_interval([sign * value for value in values]).excludes_zero


@given(st.lists(st.floats(0.5, 9), min_size=1, max_size=5))
def test_too_few_clips_exclude_nothing(values):
    assert not mean_interval(values).excludes_zero


@given(st.lists(st.floats(0.5, 9), min_size=3, max_size=12))
def test_values_of_both_signs_in_balance_do_not_exclude_zero(values):
    assert not mean_interval(values + [-value for value in values]).excludes_zero


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="same clips"):
        paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="level"):
        mean_interval([1.0], level=95.0)
    with pytest.raises(ValueError, match="samples"):
        mean_interval([1.0], samples=0)
