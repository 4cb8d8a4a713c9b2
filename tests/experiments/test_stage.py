"""A stage that trains low-rank updates: stopped and gone on with it ends as never stopped, and its model is whole."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from directanimator.model.cue_fusion import CUE_PARAMETERS
from directanimator.model.embedded import make_transformer
from experiments.edit import edit
from experiments.presets import PRESETS
from experiments.record import RunDirectory
from experiments.scaling import zero_item
from experiments.spec import Stage
from experiments.stage import AbandonedTrainingError, StageJob, Watch, train_stage, trained_model, unwatched

STEPS = 4
SPEC = edit(
    PRESETS["smoke"].spec,
    {"optim.lora_rank": 2, "data.size": 32, "model.num_layers": 1, "same_id.steps": STEPS, "cross_id.steps": STEPS},
)
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


def trained(place: Path, job: StageJob) -> RunDirectory:
    run = RunDirectory.claim(place, job.stage, spec={}, tags={}, experiment="test")
    train_stage(job, run, Accelerator(cpu=True))
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
