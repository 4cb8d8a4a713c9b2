"""The moving average of the weights."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from directanimator.training.spec import OptimSpec
from directanimator.training.state import TrainState, load_average, new_state, trainable, update_average

SPEC = OptimSpec()


def fresh(seed: int = 0) -> TrainState:
    torch.manual_seed(seed)
    return new_state(nn.Linear(3, 2), SPEC)


def shift(state: TrainState, by: float) -> None:
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter += by


@given(st.integers(0, 2**31))
def test_the_average_starts_as_the_weights_and_not_as_their_alias(seed: int) -> None:
    state = fresh(seed)
    before = copy.deepcopy(state.ema)
    torch.testing.assert_close(before, dict(state.model.state_dict()), rtol=0, atol=0)
    shift(state, 1.0)
    torch.testing.assert_close(state.ema, before, rtol=0, atol=0)


@given(st.floats(0, 1), st.integers(100_000, 200_000))
def test_the_average_moves_a_share_of_one_minus_decay(decay: float, step: int) -> None:
    state = fresh()
    state.step = step
    before = copy.deepcopy(state.ema)
    shift(state, 1.0)
    limit = min(decay, (1 + step) / (10 + step))
    update_average(state, decay)
    for name, value in state.ema.items():
        torch.testing.assert_close(value - before[name], torch.full_like(value, 1 - limit), rtol=1e-4, atol=1e-6)


@given(st.integers(1, 60))
def test_early_averages_move_faster(step: int) -> None:
    state = fresh()
    state.step = step
    before = state.ema["bias"].clone()
    shift(state, 1.0)
    update_average(state, decay=0.9999)
    assert float((state.ema["bias"] - before)[0]) == pytest.approx(9 / (10 + step), rel=1e-3)


@given(st.floats(0, 1), st.integers(0, 100))
def test_the_average_of_resting_weights_rests(decay: float, step: int) -> None:
    state = fresh()
    state.step = step
    before = copy.deepcopy(state.ema)
    update_average(state, decay)
    torch.testing.assert_close(state.ema, before, rtol=0, atol=0)


def test_the_average_approaches_the_weights() -> None:
    state = fresh()
    shift(state, 1.0)
    for step in range(1, 400):
        state.step = step
        update_average(state, decay=0.95)
    torch.testing.assert_close(state.ema, dict(state.model.state_dict()))


def test_loading_the_average_puts_it_into_the_model() -> None:
    state = fresh()
    average = copy.deepcopy(state.ema)
    shift(state, 1.0)
    load_average(state)
    torch.testing.assert_close(dict(state.model.state_dict()), average, rtol=0, atol=0)


def test_trainable_parameters_are_those_that_want_a_gradient() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    assert set(trainable(model)) == {"1.weight", "1.bias"}
