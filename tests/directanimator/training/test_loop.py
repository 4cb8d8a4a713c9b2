"""The schedule, one step, and the generator over steps."""

from unittest.mock import Mock

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from directanimator.training.loop import (
    FINAL_RATE,
    DivergedTrainingError,
    Losses,
    StepResult,
    learning_rate,
    suitable_attention,
    train,
)
from directanimator.training.spec import OptimSpec
from directanimator.training.state import TrainState, new_state

specs = st.builds(
    OptimSpec,
    learning_rate=st.floats(1e-6, 1),
    warmup_steps=st.integers(0, 50),
    decay_share=st.floats(0, 1),
)
PLAIN = OptimSpec(learning_rate=0.01, warmup_steps=0, decay_share=0.0, precision="fp32", max_grad_norm=1e6)


def batch_at(step: int) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
    return inputs, inputs.sum(dim=1, keepdim=True)


def squared_error(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Losses:
    error = (model(batch[0]) - batch[1]).square().mean()
    return {"loss": error, "twice": 2 * error}


def fresh(spec: OptimSpec = PLAIN) -> TrainState:
    torch.manual_seed(7)
    return new_state(nn.Linear(3, 1), spec)


def run(state: TrainState, steps: int, spec: OptimSpec = PLAIN) -> list[StepResult]:
    return list(train(state, batch_at, squared_error, steps, spec, Accelerator(cpu=True)))


@given(specs, st.integers(1, 500), st.data())
def test_the_rate_is_positive_and_never_above_the_peak(spec: OptimSpec, total: int, data: st.DataObject) -> None:
    rate = learning_rate(data.draw(st.integers(0, total - 1)), total, spec)
    assert 0 < rate <= spec.learning_rate * (1 + 1e-12)


@given(specs, st.integers(60, 500), st.data())
def test_the_rate_rises_in_the_warm_up(spec: OptimSpec, total: int, data: st.DataObject) -> None:
    steady = spec.model_copy(update={"decay_share": 0.0})
    rates = [learning_rate(step, total, steady) for step in range(total)]
    warmup = rates[: spec.warmup_steps]
    assert all(early < late for early, late in zip(warmup, rates[1:], strict=False))
    assert rates[spec.warmup_steps :] == pytest.approx([spec.learning_rate] * (total - spec.warmup_steps))


@given(specs, st.integers(100, 500))
def test_the_rate_stays_at_its_peak_between_warm_up_and_decay(spec: OptimSpec, total: int) -> None:
    between = range(spec.warmup_steps, int((1 - spec.decay_share) * total))
    assert all(learning_rate(step, total, spec) == pytest.approx(spec.learning_rate) for step in between)


@given(specs.filter(lambda spec: spec.decay_share > 0.1), st.integers(500, 2000))
def test_the_rate_falls_to_a_tenth(spec: OptimSpec, total: int) -> None:
    last = [learning_rate(step, total, spec) / spec.learning_rate for step in (total - 2, total - 1)]
    assert last[0] > last[1] > FINAL_RATE
    assert last[1] == pytest.approx(FINAL_RATE, abs=1 / (spec.decay_share * total))


def test_every_step_is_told_with_its_number_and_values() -> None:
    results = run(fresh(), 4)
    assert [result.step for result in results] == [1, 2, 3, 4]
    assert set(results[0].metrics) == {"loss", "twice", "grad_norm", "learning_rate"}
    assert all(r.metrics["twice"] == pytest.approx(2 * r.metrics["loss"]) for r in results)


def test_the_loss_told_is_the_one_before_the_step() -> None:
    state = fresh()
    expected = float(squared_error(state.model, batch_at(0))["loss"].detach())
    assert run(state, 1)[0].metrics["loss"] == pytest.approx(expected)


def test_training_lowers_the_loss() -> None:
    losses = [result.metrics["loss"] for result in run(fresh(), 200)]
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


def test_steps_equal_plain_adamw_with_the_schedule() -> None:
    spec = OptimSpec(learning_rate=0.05, warmup_steps=3, decay_share=0.5, weight_decay=0.1, max_grad_norm=0.5)
    state, plain = fresh(spec), fresh(spec).model
    run(state, 8, spec)
    optimizer = torch.optim.AdamW(plain.parameters(), betas=(0.9, spec.beta2), weight_decay=0.1)
    for step in range(8):
        optimizer.zero_grad()
        squared_error(plain, batch_at(step))["loss"].backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.param_groups[0]["lr"] = learning_rate(step, 8, spec)
        optimizer.step()
    torch.testing.assert_close(state.model.state_dict(), plain.state_dict())


def test_the_gradient_norm_told_is_the_one_before_clipping() -> None:
    loose, tight = PLAIN, PLAIN.model_copy(update={"max_grad_norm": 1e-3})
    norms = [run(fresh(spec), 1, spec)[0].metrics["grad_norm"] for spec in (loose, tight)]
    assert norms[0] == norms[1] > 1e-3


def test_gradients_do_not_linger_between_steps() -> None:
    state = fresh()
    run(state, 2)
    assert all(parameter.grad is None for parameter in state.model.parameters())


@given(st.integers(0, 6))
def test_a_finished_training_takes_no_step_more(done: int) -> None:
    state = fresh()
    state.step = done
    assert len(run(state, 3)) == max(0, 3 - done)


def test_frozen_parameters_stay() -> None:
    torch.manual_seed(7)
    model = nn.Linear(3, 1)
    model.bias.requires_grad_(False)
    before = model.bias.clone()
    state = new_state(model, PLAIN)
    run(state, 5)
    assert torch.equal(model.bias, before)
    assert set(state.ema) == {"weight"}


def launched(precision: str) -> Accelerator:
    accelerator = Mock(spec=Accelerator)
    accelerator.device, accelerator.mixed_precision = torch.device("cpu"), precision
    return accelerator


@given(st.integers(0, 2**31), st.sampled_from([("no", torch.float32, 1e-6), ("bf16", torch.bfloat16, 0.03)]))
def test_attention_computes_the_same_whatever_the_kernel(seed: int, case: tuple[str, torch.dtype, float]) -> None:
    precision, dtype, tolerance = case
    told = torch.randn(3, 2, 4, 9, 16, generator=torch.Generator().manual_seed(seed)).to(dtype)
    with suitable_attention(launched(precision)):
        found = scaled_dot_product_attention(*told)
    torch.testing.assert_close(found, scaled_dot_product_attention(*told), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_the_choice_of_kernel_ends_with_its_block(precision: str) -> None:
    def settings() -> tuple[bool, bool]:
        backends = torch.backends.cuda
        return backends.flash_sdp_enabled(), backends.fp16_bf16_reduction_math_sdp_allowed()

    before = settings()
    with suitable_attention(launched(precision)):
        assert (settings() == before) == (precision == "no")
    assert settings() == before


# ---------------------------------------------------------------- parts of a batch, and a loss that is no number


def halves(batch: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    return [(batch[0][:2], batch[1][:2]), (batch[0][2:], batch[1][2:])]


def weights(state: TrainState) -> list[float]:
    return [float(value) for parameter in state.model.parameters() for value in parameter.detach().flatten()]


@given(st.integers(1, 6))
def test_two_accumulated_halves_train_as_the_whole_batch(steps: int) -> None:
    whole, parted = fresh(), fresh()
    once = run(whole, steps)
    twice = list(train(parted, batch_at, squared_error, steps, PLAIN, Accelerator(cpu=True), halves))
    assert weights(parted) == pytest.approx(weights(whole), rel=1e-4, abs=1e-5)
    for one, two in zip(once, twice, strict=True):
        assert two.metrics == pytest.approx(one.metrics, rel=1e-4, abs=1e-6)


def test_a_gradient_that_is_no_number_ends_training_before_the_weights_it_spoiled_are_given_out() -> None:
    def steep(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        losses = squared_error(model, batch)
        flat = sum(parameter.sum() for parameter in model.parameters()) * 0
        return {"loss": losses["loss"] + (torch.as_tensor(flat)).sqrt()}  # adds 0, with a slope of no number

    with pytest.raises(DivergedTrainingError, match="grad_norm=nan"):
        next(train(fresh(), batch_at, steep, 5, PLAIN, Accelerator(cpu=True)))


@given(st.integers(0, 4), st.sampled_from([float("nan"), float("inf")]))
def test_a_loss_that_is_no_number_ends_training_and_its_state_is_never_given_out(bad: int, value: float) -> None:
    def poisoned(step: int) -> tuple[Tensor, Tensor]:
        inputs, targets = batch_at(step)
        return inputs, targets * value if step == bad else targets

    results: list[StepResult] = []

    def watch() -> None:
        for result in train(fresh(), poisoned, squared_error, 5, PLAIN, Accelerator(cpu=True)):
            results.append(result)

    with pytest.raises(DivergedTrainingError) as caught:
        watch()
    assert [result.step for result in results] == list(range(1, bad + 1))
    first = bad * PLAIN.global_batch_size
    assert f"step {bad + 1} (samples {first}..{first + PLAIN.global_batch_size - 1}" in str(caught.value)
    assert "optim.learning_rate" in str(caught.value)
