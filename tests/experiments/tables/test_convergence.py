"""When one curve is where another ends."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.tables.convergence import Curve, speed_up, steps_to_reach

FACTORS = st.floats(1, 20)


def falling(rate: float, steps: int = 1000, points: int = 50) -> Curve:
    """exp(-rate * share of the steps): a loss whose every level is reached `rate` times sooner than at rate 1."""
    marks = tuple(steps * (index + 1) // points for index in range(points))
    return Curve(marks, tuple(math.exp(-rate * mark / steps) for mark in marks))


@given(st.floats(1, 6))
def test_a_loss_that_falls_k_times_faster_is_k_times_sooner(rate):
    found = speed_up("fast", "slow", [(falling(rate), falling(1.0))])
    assert found.by_seed[0] == pytest.approx(rate, rel=0.02)


@given(st.floats(0.5, 6))
def test_a_curve_against_itself_is_as_soon(rate):
    assert speed_up("it", "it", [(falling(rate), falling(rate))]).by_seed == (1.0,)


@given(FACTORS, st.floats(0, 5))
def test_units_of_loss_and_step_do_not_matter(factor, rate):
    def scaled(curve):
        return Curve(tuple(10 * step for step in curve.steps), tuple(factor * loss for loss in curve.losses))

    plain = speed_up("a", "b", [(falling(rate + 1), falling(1.0))]).by_seed[0]
    assert speed_up("a", "b", [(scaled(falling(rate + 1)), scaled(falling(1.0)))]).by_seed[0] == pytest.approx(plain)


@given(st.floats(0, 0.9))
def test_a_loss_that_is_never_reached_is_said_so(rate):
    found = speed_up("slow", "fast", [(falling(rate), falling(1.0))])
    assert found.by_seed == (None,)
    assert (found.mean, found.interval) == (None, None)
    assert found.most == pytest.approx(1, abs=0.03), "the other is there within its last points"


@given(st.lists(st.floats(0.1, 4), min_size=1, max_size=4), st.integers(1, 50))
def test_longer_trainings_only_lower_what_a_speed_up_can_be_at_most(rates, cut):
    """What a curve that was cut off promises at most is never less than what the whole one shows."""
    whole = [(falling(rate), falling(1.0)) for rate in rates]
    short = [(Curve(fast.steps[:cut], fast.losses[:cut]), slow) for fast, slow in whole]
    found, cut_off = speed_up("a", "b", whole), speed_up("a", "b", short)
    assert found.most <= cut_off.most * (1 + 1e-9)
    if found.mean is not None:
        assert found.most == pytest.approx(found.mean)


def test_one_seed_that_does_not_get_there_leaves_no_mean():
    found = speed_up("a", "b", [(falling(2.0), falling(1.0)), (falling(0.2), falling(1.0))])
    assert found.by_seed[1] is None
    assert (found.mean, found.interval) == (None, None)


def test_a_seed_whose_losses_are_no_numbers_is_left_out():
    broken = Curve((1, 2, 3), (math.nan,) * 3)
    found = speed_up("a", "b", [(falling(2.0), broken), (falling(2.0), falling(1.0))])
    assert found.by_seed == found.at_most == pytest.approx((2.0,), rel=0.02)
    assert math.isnan(speed_up("a", "b", [(falling(2.0), broken)]).most)


@given(st.lists(st.floats(1.1, 5), min_size=2, max_size=4).filter(lambda rates: max(rates) - min(rates) > 0.1))
def test_the_mean_lies_within_its_interval(rates):
    found = speed_up("a", "b", [(falling(rate), falling(1.0)) for rate in rates])
    assert found.mean is not None
    assert found.interval is not None
    assert found.interval[0] <= found.mean <= found.interval[1]
    assert min(rates) * 0.98 <= found.mean <= max(rates) * 1.02


def test_one_seed_has_no_interval():
    assert speed_up("a", "b", [(falling(2.0), falling(1.0))]).interval is None


@given(st.floats(0.01, 1))
def test_steps_are_told_between_points(loss):
    curve = Curve((100, 200), (1.0, 0.0))
    assert steps_to_reach(curve, loss) == pytest.approx(200 - 100 * loss)


def test_the_first_time_counts():
    assert steps_to_reach(Curve((1, 2, 3, 4), (3.0, 1.0, 2.0, 0.5)), 1.0) == 2
