"""What one training leaves behind in the process that starts the next, and what trainings beside each other see."""

import gc
import json
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

from directanimator.errors import UserError
from directanimator.model.backbone import CueBackbone
from directanimator.model.codec import VideoCodec
from experiments import experiment
from experiments.edit import edit
from experiments.experiment import (
    Start,
    adopt_trained,
    claim_stage,
    held_stage,
    is_trained,
    launch,
    start_fresh,
    train_teacher,
    variant_of,
)
from experiments.presets import PRESETS
from experiments.record import COMPUTED_IN_TAG, VARIANT_TAG, RunDirectory
from experiments.spec import ExperimentSpec
from experiments.stage import StageJob
from experiments.tracking.tracker import NullTracker
from tests.two_processes import on_two_processes

SMOKE = PRESETS["smoke"].spec
TAGS = {"preset": "smoke", "ablation": "full"}


@pytest.fixture(autouse=True)
def _no_precision_is_left() -> Iterator[None]:
    """accelerate keeps one for the whole process, and other tests name none."""
    yield
    AcceleratorState._reset_state()


@pytest.mark.parametrize("has_bf16", [True, False])
@pytest.mark.parametrize("order", [("fp32", "bf16"), ("bf16", "fp32"), ("bf16", "bf16")])
def test_one_process_trains_in_one_precision_after_another(
    order: tuple[str, str], has_bf16: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And in none that the processor does not multiply in, which is said once."""
    monkeypatch.setattr("directanimator.model.precision.multiplies_in_bf16", lambda _: has_bf16)
    experiment._say_precision.cache_clear()
    for precision in order:
        accelerator = launch(edit(SMOKE, {"optim.precision": precision}))
        assert accelerator.mixed_precision == ("bf16" if precision == "bf16" and has_bf16 else "no")
    assert capsys.readouterr().out.count("does not multiply in bf16") == (0 if has_bf16 else 1)


def test_what_a_training_leaves_is_found_and_freed_but_not_what_was_loaded_before_the_first() -> None:
    launch(SMOKE)
    set_aside = gc.get_freeze_count()
    left = nn.Linear(1, 1)
    left.itself = left
    known = weakref.ref(left)
    launch(SMOKE)
    del left
    gc.collect()
    assert known() is None
    assert gc.get_freeze_count() > 100_000
    assert gc.get_freeze_count() <= set_aside


@pytest.mark.parametrize(("has_bf16", "precision"), [(True, "bf16"), (False, "fp32")])
def test_a_run_tells_what_it_was_computed_in(
    runs: Path, monkeypatch: pytest.MonkeyPatch, has_bf16: bool, precision: str
) -> None:
    monkeypatch.setattr("directanimator.model.precision.multiplies_in_bf16", lambda _: has_bf16)
    spec = edit(SMOKE, {"optim.precision": "bf16"})
    told = claim_stage(spec, "same_id", {}).record().tags[COMPUTED_IN_TAG]
    assert told == f"{precision} on {torch.get_num_threads()} threads"


def test_a_training_that_goes_on_elsewhere_tells_all_it_was_computed_in(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for now in ("bf16 on A", "bf16 on A", "fp32 on B", "bf16 on A"):
        monkeypatch.setattr(experiment, "how_computed", lambda spec, now=now: now)
        run = claim_stage(SMOKE, "cross_id", TAGS)
    assert run.record().tags[COMPUTED_IN_TAG] == "bf16 on A, then fp32 on B"


def test_adopted_weights_were_computed_in_what_the_donor_was(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "how_computed", lambda spec: "bf16 on A")
    donor = claim_stage(SMOKE, "cross_id", TAGS)
    marked_as_trained(donor)
    (donor.model / "transformer").mkdir()
    donor.metrics.append(1, {"train/loss": 1.0})
    monkeypatch.setattr(experiment, "how_computed", lambda spec: "fp32 on B")
    other = edit(SMOKE, {"sampling.num_steps": 5})
    run = claim_stage(other, "cross_id", TAGS)
    adopt_trained(run, other)
    assert is_trained(run)
    assert run.record().tags[COMPUTED_IN_TAG] == "bf16 on A"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path))
    return tmp_path / "runs"


def marked_as_trained(run: RunDirectory) -> None:
    run.model.mkdir(parents=True)
    (run.model / "spec.json").write_text("{}")


def test_a_neighbor_that_was_killed_before_it_had_a_record_is_no_donor_and_no_hindrance(runs: Path) -> None:
    run = claim_stage(SMOKE, "cross_id", TAGS)
    (runs / "cross_id-000000000000").mkdir()
    (runs / "cross_id-000000000000" / ".claim.lock").touch()
    adopt_trained(run, SMOKE)
    assert not is_trained(run)


def test_a_run_tells_all_commits_that_made_it_until_it_is_finished(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = claim_stage(SMOKE, "cross_id", TAGS)
    made_by = run.record().tags["commit"]
    monkeypatch.setattr(experiment, "commit_tags", lambda: {"commit": "later", "dirty": "false"})
    for _ in range(2):
        assert claim_stage(SMOKE, "cross_id", TAGS).record().tags["commit"] == f"{made_by}, then later"
    run.update(tags={"commit": made_by})
    run.finish()
    assert claim_stage(SMOKE, "cross_id", TAGS).record().tags["commit"] == made_by


def test_who_finds_a_run_in_use_leaves_no_trace_in_it(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = claim_stage(SMOKE, "cross_id", TAGS)
    run.update(status="interrupted")
    before = run.record()
    monkeypatch.setattr(experiment, "commit_tags", lambda: {"commit": "later", "dirty": "false"})
    refused, mine = pytest.raises(UserError, match="in use"), (SMOKE, "cross_id", TAGS, launch(SMOKE))
    with run.exclusive(), refused, held_stage(*mine, wait=False):
        raise AssertionError
    assert run.record() == before
    with held_stage(*mine, wait=False) as held:
        assert held == run
        assert run.record().tags["commit"].endswith(", then later")
        with refused, run.exclusive():
            raise AssertionError


def test_who_waits_until_another_one_has_finished_a_run_is_not_told_among_its_makers(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, locked = claim_stage(SMOKE, "same_id", TAGS), threading.Event()
    made_by = run.record().tags["commit"]
    monkeypatch.setattr(experiment, "commit_tags", lambda: {"commit": "later", "dirty": "false"})

    def finish_it_meanwhile() -> None:
        with run.exclusive():
            locked.set()
            time.sleep(0.3)
            run.finish()

    thread = threading.Thread(target=finish_it_meanwhile)
    thread.start()
    locked.wait()
    with held_stage(SMOKE, "same_id", TAGS, launch(SMOKE), wait=True):
        assert run.record().tags["commit"] == made_by
    thread.join()


def test_a_finished_run_stays_that_of_whoever_made_it_and_is_found_by_whoever_uses_it(runs: Path) -> None:
    run = claim_stage(SMOKE, "cross_id", {**TAGS, "study": "s", "trial": "3"})
    assert claim_stage(SMOKE, "cross_id", {**TAGS, "study": "s", "trial": "5"}).record().tags["trial"] == "5"
    run.finish()
    made_by = run.record().tags
    again = claim_stage(SMOKE, "cross_id", {**TAGS, "study": "s", "trial": "7", "table": "t"})
    assert again.record().tags == made_by | {"table": "t"}


@pytest.mark.parametrize("was_sealed", [True, False])
def test_a_finished_run_is_shown_as_it_is_and_an_unfinished_one_is_sealed(
    runs: Path, monkeypatch: pytest.MonkeyPatch, was_sealed: bool
) -> None:
    run = claim_stage(SMOKE, "cross_id", TAGS)
    marked_as_trained(run)
    monkeypatch.setattr(experiment, "trained_model", lambda run, spec: nn.Identity())
    monkeypatch.setattr(experiment, "is_evaluated", lambda run, spec, networks: True)
    if was_sealed:
        run.finish()
        run.metrics.append(1, {"train/loss": 0.0})
    run.checkpoint.mkdir()
    job = StageJob(SMOKE, "cross_id", {}, teacher=None)
    experiment.run_stage(job, run, launch(SMOKE), NullTracker(), cast(VideoCodec, None))
    assert run.status == "finished"
    assert run.was_edited() == was_sealed
    assert run.checkpoint.exists() == was_sealed, "what this call finished has no checkpoint any more"


def test_a_finished_teacher_keeps_the_scores_of_the_run_that_it_was_trained_for(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = claim_stage(SMOKE, "same_id", TAGS)
    marked_as_trained(teacher)
    teacher.evaluation_file.write_text(json.dumps({"protocol": "of the test split"}))
    teacher.finish()
    monkeypatch.setattr(experiment, "trained_model", lambda run, spec: nn.Identity())
    other = edit(SMOKE, {"evaluation.split": "val", "sampling.num_steps": 5})
    job = StageJob(other, "same_id", {}, teacher=None)
    experiment.run_stage(job, teacher, launch(other), NullTracker(), cast(VideoCodec, None))
    assert json.loads(teacher.evaluation_file.read_text()) == {"protocol": "of the test split"}
    assert not teacher.was_edited()


def variant(spec: ExperimentSpec, **tags: str) -> str | None:
    return claim_stage(spec, "cross_id", {**TAGS, **tags}).record().tags.get(VARIANT_TAG)


def test_seeds_of_one_variant_have_one_name_and_whatever_else_is_other_another(runs: Path) -> None:
    assert variant(SMOKE) == variant(edit(SMOKE, {"seed": 7})) == "full, preset=smoke"
    assert variant(edit(SMOKE, {"same2x.weight": 0.25})) == "full, same2x.weight=0.25, preset=smoke"
    bare = edit(SMOKE, {"cues.face.enabled": False})
    assert variant(bare, ablation="no_face_cue") == "no_face_cue, preset=smoke"
    assert variant_of(PRESETS["cpu"].spec, "cpu", "full") == "full"


def test_trials_reproductions_and_teachers_are_seeds_of_no_variant(runs: Path) -> None:
    assert variant(edit(SMOKE, {"seed": 1}), study="s", trial="0") is None
    assert variant(edit(SMOKE, {"seed": 2}), reproduction_of="r") is None
    assert VARIANT_TAG not in claim_stage(SMOKE, "same_id", TAGS).record().tags


def test_starting_over_removes_both_stages_but_nothing_that_is_in_use(runs: Path) -> None:
    made = [claim_stage(SMOKE, "same_id", TAGS), claim_stage(SMOKE, "cross_id", TAGS)]
    other = claim_stage(edit(SMOKE, {"seed": 5}), "cross_id", TAGS)
    for run in made:
        with run.exclusive(), pytest.raises(UserError, match="in use by another process"):
            start_fresh(SMOKE)
        assert all(kept.record_file.exists() for kept in made)
    start_fresh(SMOKE)
    assert list(runs.iterdir()) == [other.path]
    start_fresh(SMOKE)


def whether_the_teacher_is_seen_trained(place: Path) -> bool:
    """In each of two processes, of which only the first one waits for the lock."""
    os.environ["DIRECTANIMATOR_RUNS"] = str(place)

    def seen(_job: StageJob, run: RunDirectory, *_: object) -> CueBackbone:
        return cast(CueBackbone, is_trained(run))

    experiment.run_stage = seen
    accelerator = launch(SMOKE)
    (place / f"here-{accelerator.process_index}").touch()
    start = Start(accelerator, cast(VideoCodec, None), {}, {})
    return bool(train_teacher(start, SMOKE, "smoke", address=f"sqlite:///{place}/mlflow.db")[1])


@pytest.mark.slow
def test_all_processes_wait_until_another_training_of_the_teacher_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path))
    teacher, locked = claim_stage(SMOKE, "same_id", TAGS), threading.Event()

    def train_it_meanwhile() -> None:
        with teacher.exclusive():
            locked.set()
            while len(list(tmp_path.glob("here-*"))) < 2:
                time.sleep(0.1)
            time.sleep(5)
            marked_as_trained(teacher)

    thread = threading.Thread(target=train_it_meanwhile)
    thread.start()
    locked.wait()
    assert on_two_processes(whether_the_teacher_is_seen_trained, tmp_path) == (True, True)
    thread.join()
