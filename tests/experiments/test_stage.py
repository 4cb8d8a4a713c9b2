"""A stage in its run directory: low-rank updates, shards, and going on with what was stopped.

However it is carried out, the losses are those of one process, and the model at the end is whole."""

import contextlib
import dataclasses
import gc
import json
import shutil
import weakref
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from directanimator.errors import UserError
from directanimator.model.backbone import CueBackbone
from directanimator.model.cue_fusion import CUE_PARAMETERS
from directanimator.model.embedded import make_transformer
from directanimator.training import checkpoint
from directanimator.training.checkpoint import Snapshot
from directanimator.training.state import new_state
from experiments import stage as staging
from experiments.benchmarks.scaling import zero_item
from experiments.edit import edit
from experiments.execution import Execution, check_execution
from experiments.presets import PRESETS
from experiments.record import RunDirectory
from experiments.spec import Stage
from experiments.stage import AbandonedTrainingError, StageJob, Watch, train_stage, trained_model, unwatched
from tests.two_processes import on_two_processes

STEPS = 4
SPEC = edit(
    PRESETS["smoke"].spec,
    {"optim.lora_rank": 2, "data.size": 32, "model.num_layers": 1, "same_id.steps": STEPS, "cross_id.steps": STEPS},
)
PLAIN_SPEC = edit(SPEC, {"optim.lora_rank": None})
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


def pool() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    fields = {name: np.stack([value] * 4) for name, value in zero_item(SPEC).items()}
    for name, values in fields.items():
        drawn = rng.standard_normal(values.shape)
        values[:] = drawn > 0 if "present" in name or "masks" in name else drawn
    return fields


def job_of(stage: Stage, teacher_at: RunDirectory | None = None, watch: Watch = unwatched) -> StageJob:
    teacher = None if teacher_at is None else trained_model(teacher_at, SPEC)
    return StageJob(SPEC, stage, pool(), teacher, watch=watch)


def stops_after(step: int) -> Watch:
    return lambda _run, done: done == step


def trained(place: Path, job: StageJob, precision: str = "no") -> RunDirectory:
    run = RunDirectory.claim(place, job.stage, spec={}, tags={}, experiment="test")
    AcceleratorState._reset_state()
    train_stage(job, run, Accelerator(cpu=True, mixed_precision=precision))
    AcceleratorState._reset_state()
    return run


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return trained(tmp_path_factory.mktemp("teacher"), job_of("same_id"))


@given(st.sets(st.integers(1, STEPS - 1), min_size=1, max_size=2))
@settings(max_examples=2)
def test_low_rank_training_that_was_stopped_ends_at_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, teacher: RunDirectory, stops: set[int]
) -> None:
    place = tmp_path_factory.mktemp("stopped")
    for stop in sorted(stops):
        with pytest.raises(AbandonedTrainingError):
            trained(place, job_of("same_id", watch=lambda _run, step, stop=stop: step == stop))
    run = trained(place, job_of("same_id"))
    assert (run.model / WEIGHTS).read_bytes() == (teacher.model / WEIGHTS).read_bytes()
    assert [(r.step, r.values) for r in run.metrics.read()] == [(r.step, r.values) for r in teacher.metrics.read()]


@pytest.mark.parametrize("stop", [2, STEPS + 1])
def test_a_checkpoint_that_cannot_be_written_is_told_before_the_training_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    def write(*_: object) -> None:
        raise UserError("cannot write: the disk is full")

    monkeypatch.setattr(Snapshot, "write", write)
    with pytest.raises(UserError, match="disk is full"):
        trained(tmp_path, job_of("same_id", watch=lambda _run, step: step == stop))
    assert not (tmp_path / "same_id" / "model").exists()


def test_a_checkpoint_holds_what_is_trained_and_nothing_else(teacher: RunDirectory) -> None:
    names = {name.partition(".")[2] for name in load_file(teacher.checkpoint / "state.safetensors")}
    assert all("lora_" in name or any(part in name for part in CUE_PARAMETERS) for name in names)
    assert any("lora_" in name for name in names)


def test_the_saved_model_is_the_base_with_its_blocks_updated(teacher: RunDirectory) -> None:
    base, found = make_transformer(SPEC.model, SPEC.seed).state_dict(), load_file(teacher.model / WEIGHTS)
    assert found.keys() == base.keys()
    changed = {name for name in base if not torch.equal(base[name], found[name])}
    adapted = {name for name in base if name.endswith(".weight") and (".attn1.to_" in name or ".ff.net." in name)}
    assert adapted <= changed
    assert all(name in adapted or any(part in name for part in CUE_PARAMETERS) for name in changed)


def test_the_second_stage_starts_from_the_first_and_adds_updates_of_its_own(
    tmp_path: Path, teacher: RunDirectory
) -> None:
    job = job_of("cross_id", teacher)
    assert job.teacher is not None
    started, told = job.model().state_dict(), job.teacher.state_dict()
    plain = {name.replace(".base_layer", ""): value for name, value in started.items() if "lora_" not in name}
    assert plain.keys() == told.keys()
    assert all(torch.equal(value, told[name]) for name, value in plain.items())
    run = trained(tmp_path, job)
    assert trained_model(run, SPEC).state_dict().keys() == told.keys()


@pytest.mark.parametrize("ends", [True, False])
def test_a_stage_that_is_over_leaves_no_model_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """The next stage has the same accelerator, and a model of its own."""
    made: list[weakref.ref[nn.Module]] = []
    build = StageJob.model

    def model(job: StageJob) -> CueBackbone:
        built = build(job)
        made.append(weakref.ref(built))
        return built

    monkeypatch.setattr(StageJob, "model", model)
    accelerator = Accelerator(cpu=True)
    run = RunDirectory.claim(tmp_path, "same_id", spec={}, tags={}, experiment="test")
    with nullcontext() if ends else pytest.raises(AbandonedTrainingError):
        train_stage(job_of("same_id", watch=unwatched if ends else stops_after(2)), run, accelerator)
    gc.collect()
    assert [there() for there in made] == [None]


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_checkpointed_blocks_train_as_others_do(tmp_path: Path, precision: str) -> None:
    """In bf16 whether this processor multiplies in it or not."""
    spec = edit(PLAIN_SPEC, {"model.num_layers": 2})
    plain, sparing = (
        trained(tmp_path / name, StageJob(spec, "same_id", pool(), None, execution), precision)
        for name, execution in (("plain", Execution()), ("sparing", Execution(checkpointing=True)))
    )
    assert curve(plain) == curve(sparing)


# ------------------------------------------------------------------------------------------------------------- previews


def test_a_training_that_is_previewed_is_seen_at_even_steps_and_ends_at_the_same_bits(
    tmp_path: Path, teacher: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "PREVIEW_POINTS", 2)

    def look(model: nn.Module) -> dict[str, float]:
        return {"preview/self/psnr": float(sum(value.detach().abs().sum() for value in model.parameters()))}

    def job(watch: Watch = unwatched) -> StageJob:
        return dataclasses.replace(job_of("same_id", watch=watch), preview=look)

    run = trained(tmp_path / "unbroken", job())
    assert (run.model / WEIGHTS).read_bytes() == (teacher.model / WEIGHTS).read_bytes()
    seen = [record.step for record in run.metrics.read() if "preview/self/psnr" in record.values]
    assert seen == [STEPS // 2, STEPS]
    with pytest.raises(AbandonedTrainingError):
        trained(tmp_path / "stopped", job(stops_after(STEPS - 1)))
    gone_on = trained(tmp_path / "stopped", job())
    assert [r.values for r in gone_on.metrics.read()] == [r.values for r in run.metrics.read()]


# ------------------------------------------------------------------------------------------------ two sharded processes

TOLERANCE = 1e-4
SPARING = Execution(micro_batch=1, checkpointing=True)


def runs_of_two(places: Path) -> int:
    """What each of two processes does: trainings that the test compares."""
    torch.set_num_threads(1)
    sharded = Execution(sharding=True)
    trained(places / "unbroken", StageJob(PLAIN_SPEC, "same_id", pool(), None, sharded))
    with contextlib.suppress(AbandonedTrainingError):
        trained(places / "stopped", StageJob(PLAIN_SPEC, "same_id", pool(), None, sharded, watch=stops_after(2)))
    if dist.get_rank() == 0:
        for place in ("alone", "half_removed"):
            shutil.copytree(places / "stopped", places / place)
    trained(places / "stopped", StageJob(PLAIN_SPEC, "same_id", pool(), None, sharded))
    trained(places / "from_one", StageJob(PLAIN_SPEC, "same_id", pool(), None, sharded))
    teacher = trained_model(RunDirectory(places / "unbroken" / "same_id"), PLAIN_SPEC)
    execution = dataclasses.replace(SPARING, sharding=True)
    trained(places / "student", StageJob(SPEC, "cross_id", pool(), teacher, execution, held_out=pool()))
    return dist.get_world_size()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    places = tmp_path_factory.mktemp("two")
    with contextlib.suppress(AbandonedTrainingError):
        trained(places / "from_one", StageJob(PLAIN_SPEC, "same_id", pool(), None, watch=stops_after(2)))
    assert on_two_processes(runs_of_two, places) == (2, 2)
    return places


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return trained(tmp_path_factory.mktemp("one"), StageJob(PLAIN_SPEC, "same_id", pool(), None))


def curve(run: RunDirectory) -> list[dict[str, float]]:
    records = run.metrics.read()
    assert [record.step for record in records] == list(range(1, STEPS + 1))
    return [dict(record.values) for record in records]


def assert_alike(found: RunDirectory, wanted: RunDirectory) -> None:
    for ours, theirs in zip(curve(found), curve(wanted), strict=True):
        assert ours == pytest.approx(theirs, abs=TOLERANCE, rel=0)
    weights = load_file(wanted.model / WEIGHTS)
    for name, value in load_file(found.model / WEIGHTS).items():
        torch.testing.assert_close(value, weights[name], atol=1e-3, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["unbroken", "from_one"])
def test_two_sharded_processes_train_as_one(two: Path, one: RunDirectory, place: str) -> None:
    """From the start, and going on from what one process left."""
    assert_alike(RunDirectory(two / place / "same_id"), one)


@pytest.mark.slow
def test_sharded_training_that_was_stopped_ends_at_the_same_bits(two: Path) -> None:
    stopped, unbroken = (RunDirectory(two / place / "same_id") for place in ("stopped", "unbroken"))
    assert curve(stopped) == curve(unbroken)
    assert (stopped.model / WEIGHTS).read_bytes() == (unbroken.model / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_one_process_goes_on_from_the_shards_of_two(two: Path, one: RunDirectory) -> None:
    run = trained(two / "alone", StageJob(PLAIN_SPEC, "same_id", pool(), None))
    assert_alike(run, one)
    assert {path.name for path in run.checkpoint.iterdir()} == {"state.safetensors"}


@pytest.mark.slow
def test_shards_that_a_killed_process_had_half_removed_stop_nobody(
    two: Path, one: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, job = shutil.rmtree, StageJob(PLAIN_SPEC, "same_id", pool(), None)

    def half_removed(path: Path, ignore_errors: bool = False) -> None:
        if path.name == "state_sharded":
            sorted(path.glob("*.safetensors"))[0].unlink(missing_ok=True)
        else:
            remove(path, ignore_errors)

    with monkeypatch.context() as killed:
        killed.setattr(staging.shutil, "rmtree", half_removed)
        run = trained(two / "half_removed", job)
    assert {path.name for path in run.checkpoint.iterdir()} == {"state.safetensors", "state_sharded"}
    remove(run.model)
    assert_alike(trained(two / "half_removed", job), one)


@pytest.mark.slow
def test_a_sharded_student_of_a_sharded_teacher_trains_as_one_process_does(two: Path, tmp_path: Path) -> None:
    """Low-rank, accumulating and checkpointing beside."""
    teacher = trained_model(RunDirectory(two / "unbroken" / "same_id"), PLAIN_SPEC)
    alone = trained(tmp_path, StageJob(SPEC, "cross_id", pool(), teacher, SPARING, held_out=pool()))
    assert "held_out/denoising" in curve(alone)[-1]
    assert_alike(RunDirectory(two / "student" / "cross_id"), alone)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
def test_damaged_shards_are_refused_in_one_line(two: Path, tmp_path: Path, damage: str) -> None:
    run = RunDirectory(shutil.copytree(two / "unbroken" / "same_id", tmp_path / "same_id"))
    shutil.rmtree(run.model)
    shards = run.checkpoint / "state_sharded"
    (first, _) = sorted(shards.glob("*.safetensors"))
    if damage == "missing":
        first.unlink()
    elif damage == "truncated":
        first.write_bytes(first.read_bytes()[:-8])
    else:
        told = json.loads((shards / "checkpoint.json").read_text())
        (shards / "checkpoint.json").write_text(json.dumps({**told, "fingerprint": "another"}))
    with pytest.raises(UserError) as caught:
        train_stage(StageJob(PLAIN_SPEC, "same_id", pool(), None), run, Accelerator(cpu=True))
    assert "\n" not in str(caught.value)
    assert "state_sharded" in str(caught.value)


def what_both_are_told(place: Path) -> list[str]:
    """Of a checkpoint that the first process can neither begin nor end."""
    Accelerator(cpu=True)  # connects them
    state, told = new_state(nn.Linear(3, 1), SPEC.optim), []
    (place / "file").touch()
    if dist.get_rank() == 0:
        checkpoint.write_json = lambda path, told: (_ for _ in ()).throw(UserError(f"cannot write {path.parent}: full"))
    for path in (place / "file" / "sharded", place / "sharded"):
        with pytest.raises(UserError) as caught:
            checkpoint.save_sharded(state, path, "x")
        told.append(str(caught.value))
    return told


@pytest.mark.slow
def test_what_the_first_process_cannot_write_is_told_by_all(tmp_path: Path) -> None:
    first, second = on_two_processes(what_both_are_told, tmp_path)
    assert first == second
    assert "cannot write" in first[0]
    assert "full" in first[1]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_shards_of_one_process_are_refused() -> None:
    with pytest.raises(UserError, match="torchrun"):
        check_execution(Execution(sharding=True), 4, 1)
