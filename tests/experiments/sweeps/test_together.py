"""A sweep whose trials train on two processes: one draws and judges, and both do the same."""

import os
from pathlib import Path

import pytest
import torch.distributed as dist
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st

from directanimator.atomic import write_json
from directanimator.errors import UserError
from experiments import experiment, sweep
from experiments.edit import edit, leaves
from experiments.evaluation.columns import METRICS
from experiments.execution import Execution
from experiments.presets import PRESETS
from experiments.record import RunDirectory
from experiments.spec import ExperimentSpec
from experiments.stage import AbandonedTrainingError, Watch, Wish, unwatched
from experiments.sweep import main, plan_of
from experiments.sweeps.together import TrialRun
from tests.two_processes import on_two_processes

WORDS = ("sweep=same2x", "preset=smoke", "trials=12", "optim.global_batch_size=4")
Trained = tuple[float, float, int]
"""Weight and depth of a run, and the steps that a process did of it."""


@given(st.sampled_from(sorted(PRESETS)), st.floats(0, 4), st.integers(0, 2**31), st.text(max_size=8))
def test_what_is_heard_is_what_was_said(preset: str, weight: float, seed: int, tag: str) -> None:
    trial = TrialRun(spec=edit(PRESETS[preset].spec, {"same2x.weight": weight, "seed": seed}), tags={"study": tag})
    assert TrialRun.model_validate_json(trial.model_dump_json()) == trial


class Training:
    """Stands where training would, and like it agrees with the other process after each step."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.trained: list[Trained] = []

    def __call__(
        self,
        spec: ExperimentSpec,
        tags: dict[str, str],
        *,
        watch: Watch = unwatched,
        wait: bool,
        execution: Execution,
    ) -> RunDirectory:
        assert execution == Execution(micro_batch=1)
        runs, main_process = Path(os.environ["DIRECTANIMATOR_RUNS"]) / "runs", self.accelerator.is_main_process
        with self.accelerator.main_process_first():
            teacher = RunDirectory.claim(runs, "same_id-0", spec={}, tags={}, experiment="e")
            tagged = {**tags, "teacher_run": "same_id-0"}
            run = RunDirectory.claim(runs, f"run-{tags['trial']}", spec=leaves(spec), tags=tagged, experiment="e")
        for step in range(1, spec.cross_id.steps + 1):
            if main_process:
                run.metrics.append(step, {"train/denoising": spec.same2x.weight / step})
                teacher.metrics.append(step, {"train/denoising": 1.0})
            wish = Wish(abandon=main_process and watch(run, step)).agreed(self.accelerator)
            if wish.abandon or step == spec.cross_id.steps:
                self.trained.append((spec.same2x.weight, spec.same2x.depth, step))
            if wish.abandon:
                raise AbandonedTrainingError(f"given up after step {step}")
        if main_process:
            score = dict.fromkeys(METRICS, 1.0)
            write_json(run.evaluation_file, {"summary": {"self": score, "cross": score}, "seed": spec.seed})
        return run


def swept(root: Path) -> tuple[int, list[Trained]]:
    os.environ["DIRECTANIMATOR_RUNS"] = str(root)
    training = Training(Accelerator(cpu=True))
    experiment.run_experiment = training
    status = main([*WORDS, "micro_batch=1"])
    dist.barrier()
    return status, training.trained


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("together")


@pytest.mark.slow
def test_both_processes_do_the_same_trials_and_give_up_the_same_ones(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (status, first), (other_status, second) = on_two_processes(swept, root)
    assert status == other_status == 0
    assert first == second
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(root))
    plan = plan_of(WORDS)
    results = sweep.open_search(plan).results()
    assert [result.edits["same2x.weight"] for result in results] == [weight for weight, _, _ in first]
    steps = plan.spec.cross_id.steps
    done = [steps if result.state == "complete" else steps - 1 for result in results]
    assert {result.state for result in results} == {"complete", "pruned"}
    assert all((taken == steps) == (left == steps) for (_, _, taken), left in zip(first, done, strict=True))


def test_several_workers_of_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="workers=2"):
        main([*WORDS, "workers=2"])
