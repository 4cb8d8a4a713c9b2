"""The planner: its counts are those of models that are made, its advice fits, and it answers at once."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from directanimator.errors import UserError
from directanimator.model.counts import LatentGrid, count_model, empty_inputs
from directanimator.model.embedded import build_transformer
from directanimator.model.low_rank import add_low_rank
from directanimator.model.spec import ModelSpec
from directanimator.training.spec import OptimSpec
from directanimator.training.state import new_state, trainable
from experiments.edit import edit
from experiments.plan import Machine, clip_bytes, main, make_plan, read_machine, trained_parameters
from experiments.presets import PAPER, PRESETS

small_models = st.builds(
    ModelSpec,
    base=st.just("random"),
    num_layers=st.integers(1, 4),
    num_heads=st.integers(1, 3),
    head_dim=st.sampled_from([16, 32]),
    latent_channels=st.sampled_from([4, 8]),
    patch_size=st.sampled_from([1, 2]),
    patch_size_t=st.sampled_from([None, 2]),
    time_embed_dim=st.sampled_from([16, 48]),
    text_embed_dim=st.just(8),
)
grids = st.builds(
    LatentGrid, batch=st.integers(1, 2), frames=st.integers(1, 3), height=st.just(6), width=st.sampled_from([4, 8])
)


@given(small_models, grids)
@settings(max_examples=3)
def test_parameters_and_states_are_those_of_a_model_that_is_made(spec: ModelSpec, grid: LatentGrid) -> None:
    model = build_transformer(spec)
    counts = count_model(spec, grid)
    assert counts.parameters == sum(parameter.numel() for parameter in model.parameters())
    state = new_state(model, OptimSpec())
    for parameter in trainable(model).values():
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    moments = [t for s in state.optimizer.state.values() for t in s.values() if t.ndim]
    assert sum(t.nbytes for t in moments) == 8 * counts.parameters
    assert sum(t.nbytes for t in state.ema.values()) == 4 * counts.parameters


@given(small_models, st.integers(1, 8))
@settings(max_examples=3)
def test_what_low_rank_training_changes_is_that_of_a_model_that_is_made(spec: ModelSpec, rank: int) -> None:
    model = build_transformer(spec)
    add_low_rank(model, rank, seed=0)
    counts = count_model(spec, LatentGrid(1, 1, 4, 4))
    planned = trained_parameters(
        edit(PRESETS["cpu"].spec, {"optim.lora_rank": rank}).model_copy(update={"model": spec}), counts
    )
    assert planned == sum(parameter.numel() for parameter in trainable(model).values())


def test_low_rank_training_needs_less() -> None:
    machine = Machine(gpus=1, memory_gb=96, tflops=148, utilization=0.4)
    whole = make_plan(edit(PAPER.spec, {"optim.global_batch_size": 1}), machine)
    little = make_plan(edit(PAPER.spec, {"optim.global_batch_size": 1, "optim.lora_rank": 16}), machine)
    assert little.weight_bytes == whole.weight_bytes
    for kind in ("gradient_bytes", "optimizer_bytes", "average_bytes"):
        assert getattr(little, kind) < 0.1 * getattr(whole, kind)
    assert little.same_id_flops < whole.same_id_flops


def allocated_for_backward(spec: ModelSpec, grid: LatentGrid) -> int:
    """Bytes that a real forward pass leaves allocated, as PyTorch's allocator reports them."""
    torch.manual_seed(0)
    model = build_transformer(spec)
    inputs = list(empty_inputs(model, spec, grid, torch.float32))
    for tensor in (*inputs[:3], *list(vars(inputs[4]).values())[:4]):
        tensor.normal_()
    inputs[3].fill_(500)
    model(*inputs)  # whatever is made once and kept
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        output = model(*inputs)
    total = sum(event.self_cpu_memory_usage for event in seen.events())
    del output
    return total


@pytest.mark.parametrize("own", [{}, {"patch_size_t": 2}, {"backbone": "wan", "feed_forward_dim": 96}], ids=str)
@pytest.mark.parametrize("layers", [2, 5])
def test_bytes_kept_for_backward_are_those_that_a_forward_pass_leaves_allocated(
    own: dict[str, Any], layers: int
) -> None:
    spec = ModelSpec(base="random", num_layers=layers, num_heads=4, head_dim=32, latent_channels=8, **own)
    grid = LatentGrid(2, 4, 12, 12)
    assert count_model(spec, grid).activation_bytes == pytest.approx(allocated_for_backward(spec, grid), rel=0.1)


@given(small_models, grids)
@settings(max_examples=3)
def test_checkpointing_keeps_less_and_costs_grow_with_the_clip(spec: ModelSpec, grid: LatentGrid) -> None:
    one = count_model(spec, grid)
    double = count_model(spec, LatentGrid(2 * grid.batch, grid.frames, grid.height, grid.width))
    assert one.checkpointed_bytes <= one.activation_bytes
    assert double.activation_bytes == pytest.approx(2 * one.activation_bytes, rel=0.1)
    assert double.forward_flops > 1.9 * one.forward_flops
    assert one.forward_flops > 2 * one.block_parameters


def test_the_cache_is_as_large_as_the_arrays_of_a_clip() -> None:
    from directanimator.data.synthetic_items import synthetic_item
    from directanimator.model.embedded import load_codec
    from directanimator.training.prepared import prepare

    spec = PRESETS["smoke"].spec
    arrays = prepare(synthetic_item("train", 0, spec.data), load_codec(), spec.data.size, spec.cues)
    assert clip_bytes(spec) == sum(array.nbytes for array in arrays.values())


def test_the_paper_fits_four_large_devices_when_sharded_and_not_one_whole() -> None:
    plan = make_plan(PAPER.spec, Machine(4, 96, 148, 0.4))
    assert plan.layout is not None
    assert plan.layout.sharded
    assert 5.5e9 < plan.counts.base_parameters < 5.65e9
    assert plan.counts.cue_parameters / plan.counts.base_parameters <= 0.08
    assert 90e12 < plan.counts.forward_flops < 110e12
    assert make_plan(PAPER.spec, Machine(1, 96, 148, 0.4)).layout is None


@given(st.integers(1, 4).map(lambda n: 2 ** (n - 1)), st.floats(20, 1000))
@settings(max_examples=2)
def test_a_recommended_layout_fits_and_twice_the_devices_take_half_the_time(gpus: int, memory: float) -> None:
    spec = edit(PAPER.spec, {"optim.global_batch_size": 16})
    plan, more = (make_plan(spec, Machine(n, memory, 148, 0.4)) for n in (gpus, 2 * gpus))
    if plan.layout is not None:
        assert plan.layout.device_bytes <= memory * 1e9
        assert more.layout is not None
        assert more.same_id_seconds <= plan.same_id_seconds / 2 * 1.001
    else:
        assert plan.smallest.device_bytes > 0.9 * memory * 1e9


@pytest.mark.parametrize("word", ["gpus=0", "gpus=1.5", "memory_gb=none", "tflops=-1", "utilization=2"])
def test_an_impossible_machine_is_refused(word: str) -> None:
    with pytest.raises(UserError, match=r"want .*\.\."):
        read_machine([word])


def test_a_machine_that_is_described_twice_is_refused() -> None:
    with pytest.raises(UserError, match="gpus is given twice: 2 and 3"):
        read_machine(["gpus=2", "seed=1", "gpus=3"])


def test_a_batch_that_does_not_divide_is_refused_with_what_does() -> None:
    with pytest.raises(UserError, match=r"does not divide over gpus=3; want one of \[1, 2, 4\]"):
        main(["preset=paper", "gpus=3"])


def test_the_plan_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preset=paper", "gpus=4", "memory_gb=96"]) == 0
    out = capsys.readouterr().out
    for word in ("parameters", "TFLOP", "optimizer", "teacher", "cache", "layout", "days"):
        assert word in out
    assert main(["preset=paper", "gpus=1", "memory_gb=24"]) == 1
    assert "does not fit 1 x 24 GB" in capsys.readouterr().out
