"""Kill and resume: the same bits as an unbroken training, and nothing foreign is loaded."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from directanimator.errors import UserError
from directanimator.training.checkpoint import Snapshot, load_checkpoint, save_checkpoint
from directanimator.training.loop import Losses, train
from directanimator.training.spec import OptimSpec
from directanimator.training.state import TrainState, new_state

SPEC = OptimSpec(learning_rate=0.05, warmup_steps=2, decay_share=0.5, weight_decay=0.1, ema_decay=0.9)
TOTAL = 7


def fresh(seed: int = 0, width: int = 4) -> TrainState:
    torch.manual_seed(seed)
    return new_state(nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1)), SPEC)


def batch_at(step: int) -> Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(step))


def objective(model: nn.Module, inputs: Tensor) -> Losses:
    return {"loss": (model(inputs) - inputs.prod(dim=1, keepdim=True)).square().mean()}


def advance(state: TrainState, until: int) -> list[dict[str, float]]:
    """Trains until a step, then stops as if killed; the schedule is that of the whole training."""
    metrics = []
    for result in train(state, batch_at, objective, TOTAL, SPEC, Accelerator(cpu=True)):
        metrics.append(result.metrics)
        if result.step == until:
            break
    return metrics


def bits(state: TrainState) -> dict[str, Tensor]:
    moments = {
        f"{index}.{name}": value
        for index, group in enumerate(state.optimizer.state_dict()["state"].values())
        for name, value in group.items()
    }
    return dict(state.model.state_dict()) | {f"ema.{k}": v for k, v in state.ema.items()} | moments


def assert_same(one: TrainState, other: TrainState) -> None:
    assert one.step == other.step
    assert bits(one).keys() == bits(other).keys()
    for name, value in bits(one).items():
        assert torch.equal(value, bits(other)[name]), name


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    state = fresh()
    advance(state, 3)
    save_checkpoint(state, tmp_path / "c.safetensors", "abc")
    return tmp_path / "c.safetensors"


def refused(path: Path, state: TrainState | None = None, fingerprint: str = "abc") -> str:
    state = state or fresh(9)
    before = {name: value.clone() for name, value in bits(state).items()}
    with pytest.raises(UserError) as caught:
        load_checkpoint(state, path, fingerprint)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert state.step == 0
    assert all(torch.equal(value, bits(state)[name]) for name, value in before.items())
    return str(caught.value)


@given(st.sets(st.integers(1, TOTAL - 1), max_size=3))
def test_a_training_killed_and_resumed_ends_at_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, kills: set[int]
) -> None:
    path = tmp_path_factory.mktemp("run") / "c.safetensors"
    unbroken, state = fresh(), fresh()
    curve = advance(unbroken, TOTAL)
    resumed = []
    for seed, kill in enumerate(sorted(kills)):
        resumed += advance(state, kill)
        save_checkpoint(state, path, "abc")
        state = fresh(seed + 1)
        load_checkpoint(state, path, "abc")
    resumed += advance(state, TOTAL)
    assert_same(state, unbroken)
    assert resumed == curve


def test_loading_gives_the_state_that_was_saved(saved: Path) -> None:
    expected, state = fresh(), fresh(9)
    advance(expected, 3)
    load_checkpoint(state, saved, "abc")
    assert_same(state, expected)


def test_a_state_before_its_first_step_survives(tmp_path: Path) -> None:
    state, again = fresh(), fresh(9)
    save_checkpoint(state, tmp_path / "c.safetensors", "abc")
    load_checkpoint(again, tmp_path / "c.safetensors", "abc")
    assert_same(again, state)


def test_saving_leaves_the_training_as_it_was(tmp_path: Path) -> None:
    state, other = fresh(), fresh()
    for step in range(1, 4):
        advance(state, step)
        advance(other, step)
        save_checkpoint(state, tmp_path / "c.safetensors", "abc")
    assert_same(state, other)
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


@given(st.integers(0, TOTAL), st.integers(0, TOTAL))
def test_a_snapshot_is_written_as_the_state_was_however_far_training_went_on(
    tmp_path_factory: pytest.TempPathFactory, first: int, later: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "c.safetensors"
    state, expected, again = fresh(), fresh(), fresh(9)
    for one in (state, expected):
        advance(one, first)
    snapshot = Snapshot.of(state)
    advance(state, max(first, later))
    snapshot.write(path, "abc")
    load_checkpoint(again, path, "abc")
    assert_same(again, expected)


def test_another_fingerprint_is_refused(saved: Path) -> None:
    assert "of spec abc, expected xyz" in refused(saved, fingerprint="xyz")


def test_another_architecture_is_refused(saved: Path) -> None:
    assert "another architecture" in refused(saved, fresh(9, width=5))


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    assert "cannot be read" in refused(saved)


def test_a_text_file_in_its_place_is_refused(saved: Path) -> None:
    saved.write_text("not a checkpoint\nat all\n")
    assert "cannot be read" in refused(saved)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "none.safetensors")


@pytest.mark.parametrize("part", ["ema.0.bias", "exp_avg_sq.2.weight"])
def test_a_checkpoint_that_lacks_a_part_is_refused(saved: Path, part: str) -> None:
    tensors = load_file(saved)
    del tensors[part]
    save_file(tensors, saved, {"fingerprint": "abc", "step": "3"})
    refused(saved)


@pytest.mark.parametrize("metadata", [{}, {"step": "x"}, {"step": "-1"}])
def test_a_checkpoint_without_a_step_number_is_refused(saved: Path, metadata: dict[str, str]) -> None:
    save_file(load_file(saved), saved, {"fingerprint": "abc", **metadata})
    refused(saved)
