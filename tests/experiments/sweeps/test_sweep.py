"""The sweep command: what it asks for is what is searched, and each trial is an ordinary run."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.atomic import write_json
from directanimator.errors import UserError
from directanimator.training.loop import DivergedTrainingError
from experiments import experiment, sweep
from experiments.edit import leaves
from experiments.evaluation.columns import METRICS
from experiments.execution import Execution
from experiments.record import MetricRecord, RunDirectory, training_seconds
from experiments.spec import ExperimentSpec
from experiments.stage import AbandonedTrainingError, InterruptedTrainingError, Watch
from experiments.sweep import loss_reports, main, measured, plan_of, reporting_steps
from experiments.sweeps.registry import SWEEPS
from experiments.sweeps.search import REPORTS
from tests.experiments.sweeps.asleep import asleep

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "numpy", "mlflow", "optuna", "diffusers", "PIL", "cv2")
STEPS = st.integers(1, 60)
LOSSES = st.lists(st.floats(-10, 10), min_size=1, max_size=60)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path))
    return tmp_path


# ---------------------------------------------------------------- intermediate values


@given(STEPS)
def test_reports_are_spread_over_the_whole_training(steps: int) -> None:
    chosen = reporting_steps(steps)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(steps, REPORTS)
    assert chosen[-1] == steps
    gaps = [after - before for before, after in zip([0, *chosen], chosen, strict=False)]
    assert max(gaps) - min(gaps) <= 1


@given(LOSSES)
def test_reports_are_the_means_of_the_loss_between_them(losses: list[float]) -> None:
    records = [MetricRecord(step, 0.0, {"train/denoising": loss}) for step, loss in enumerate(losses, 1)]
    reports = loss_reports(records, len(losses))
    counts = [b - a for a, b in zip([0, *reporting_steps(len(losses))], reporting_steps(len(losses)), strict=False)]
    total = math.fsum(count * value for count, value in zip(counts, reports.values(), strict=True))
    assert total == pytest.approx(math.fsum(losses), abs=1e-6)
    assert list(reports) == list(range(1, len(counts) + 1))


@given(LOSSES, st.data())
def test_a_report_does_not_change_when_the_training_goes_on(losses: list[float], data: st.DataObject) -> None:
    records = [MetricRecord(step, 0.0, {"train/denoising": loss}) for step, loss in enumerate(losses, 1)]
    done = data.draw(st.integers(0, len(losses)))
    early = loss_reports(records[:done], len(losses))
    assert early.items() <= loss_reports(records, len(losses)).items()


def test_the_seconds_of_a_training_are_blind_to_interruptions() -> None:
    times = [0.0, 2.0, 4.0, 1000.0, 1002.0, 1004.0]
    records = [MetricRecord(step, time, {}) for step, time in enumerate(times, 1)]
    assert training_seconds(records) == 12.0
    assert training_seconds(records[:1]) == 0.0


# ---------------------------------------------------------------- a sweep with runs that train nothing


def motion_of(spec: ExperimentSpec) -> float:
    return 1.0 - abs(spec.same2x.weight - 0.7) + 0.01 * spec.same2x.depth + 100.0 * spec.seed


class Runs:
    """Stands where training would: writes what a run leaves, and remembers what was asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.specs: list[ExperimentSpec] = []
        self.tags: list[dict[str, str]] = []
        self.executions: list[Execution] = []
        self.before: Callable[[int], None] = lambda _: None

    def __call__(
        self, spec: ExperimentSpec, tags: dict[str, str], *, watch: Watch, wait: bool, execution: Execution
    ) -> RunDirectory:
        assert wait
        self.executions.append(execution)
        number = len(self.specs)
        self.specs.append(spec)
        self.tags.append(tags)
        self.before(number)
        runs = self.root / "runs"
        teacher = RunDirectory.claim(runs, "same_id-0", spec={}, tags={}, experiment="e")
        tagged = {**tags, "teacher_run": "same_id-0"}
        run = RunDirectory.claim(runs, f"run-{number}", spec=leaves(spec), tags=tagged, experiment="e")
        for step in range(1, spec.cross_id.steps + 1):
            run.metrics.append(step, {"train/denoising": -motion_of(spec) / step})
            if step > len(teacher.metrics.read()):
                teacher.metrics.append(step, {"train/denoising": 1.0})
            if watch(run, step):
                run.update(status="interrupted")
                raise AbandonedTrainingError(f"given up after step {step}")
        score = dict.fromkeys(METRICS, 1.0) | {"motion": motion_of(spec), "psnr_foreground": motion_of(spec)}
        write_json(run.evaluation_file, {"summary": {"self": score, "cross": score}, "seed": spec.seed})
        (run.media / "step_000004").mkdir(parents=True)
        (run.media / "step_000004" / "cross_sheet.png").write_bytes(b"png")
        return run


@pytest.fixture
def runs(root: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    fake = Runs(root)
    monkeypatch.setattr(experiment, "run_experiment", fake)
    return fake


WORDS = ("sweep=same2x", "preset=smoke", "pruner=none")


def states(*words: str) -> list[str]:
    return [result.state for result in sweep.open_search(plan_of(words)).results()]


def test_each_trial_is_a_run_tagged_with_its_study(runs: Runs) -> None:
    assert main([*WORDS, "trials=4"]) == 0
    assert len(runs.specs) == 4
    study = plan_of(WORDS).study
    assert [(tags["study"], tags["trial"]) for tags in runs.tags] == [(study, str(number)) for number in range(4)]
    assert {tags["preset"] for tags in runs.tags} == {"smoke"}


def test_trials_are_trained_in_the_way_that_is_asked_for(runs: Runs) -> None:
    assert main([*WORDS, "trials=2", "micro_batch=1", "checkpointing=true"]) == 0
    assert runs.executions == [Execution(micro_batch=1, checkpointing=True)] * 2
    assert plan_of([*WORDS, "micro_batch=1"]).study == plan_of(WORDS).study


def test_a_trial_changes_the_searched_paths_alone(runs: Runs) -> None:
    main([*WORDS, "trials=3", "data.fps=4"])
    base = plan_of([*WORDS, "data.fps=4"]).spec
    for spec in runs.specs:
        changed = {path for path, value in leaves(spec).items() if value != leaves(base)[path]}
        assert changed <= {"same2x.weight", "same2x.depth"}


def test_the_same_command_again_runs_nothing_and_more_trials_go_on(runs: Runs) -> None:
    main([*WORDS, "trials=3"])
    main([*WORDS, "trials=3"])
    assert len(runs.specs) == 3
    main([*WORDS, "trials=5"])
    assert len(runs.specs) == 5
    assert states(*WORDS) == ["complete"] * 5


def test_another_spec_is_another_study(runs: Runs) -> None:
    main([*WORDS, "trials=1"])
    main([*WORDS, "trials=1", "optim.beta2=0.9"])
    assert len(runs.specs) == 2


@pytest.mark.parametrize("kind", [KeyboardInterrupt, InterruptedTrainingError(15), UserError("disk full")])
def test_what_stops_a_trial_from_outside_leaves_it_for_the_next_call(runs: Runs, kind: Any) -> None:
    def stop(number: int) -> None:
        if number == 1:
            raise kind

    runs.before = stop
    with contextlib.suppress(KeyboardInterrupt, UserError):
        assert main([*WORDS, "trials=3"]) == 75
    assert states(*WORDS) == ["complete", "running"]
    assert main([*WORDS, "trials=3"]) == 0
    assert states(*WORDS) == ["complete"] * 3
    assert runs.specs[1] == runs.specs[2]


def test_a_trial_that_is_refused_each_time_fails_at_last_and_the_others_go_on(runs: Runs) -> None:
    """As by a pretrained base that has no room for the blocks that were drawn."""

    def refuse(_number: int) -> None:
        if runs.specs[-1].same2x == runs.specs[0].same2x:
            raise UserError("the base has 2 blocks")

    runs.before = refuse
    for calls in (1, 2, 3):
        with pytest.raises(UserError, match="the base has 2 blocks"):
            main([*WORDS, "trials=3"])
        assert (states(*WORDS), len(runs.specs)) == (["running"], calls)
    assert main([*WORDS, "trials=3"]) == 0
    results = sweep.open_search(plan_of(WORDS)).results()
    assert [result.state for result in results] == ["failed", "complete", "complete"]
    assert results[0].reason == "the base has 2 blocks; refused 4 times"


def test_refusals_for_one_reason_and_then_another_are_no_proof_against_a_trial(runs: Runs) -> None:
    reasons = [*["the disk is full"] * 3, "no such base", *["the disk is full"] * 3]

    def refuse(number: int) -> None:
        if number < len(reasons):
            raise UserError(reasons[number])

    runs.before = refuse
    for reason in reasons:
        with pytest.raises(UserError, match=reason):
            main([*WORDS, "trials=1"])
    assert main([*WORDS, "trials=1"]) == 0
    assert states(*WORDS) == ["complete"]


def test_a_trial_whose_batch_does_not_divide_over_the_processes_fails(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "started_processes", lambda: 3)
    assert main([*WORDS, "trials=1", "optim.global_batch_size=4"]) == 0
    (result,) = sweep.open_search(plan_of([*WORDS, "optim.global_batch_size=4"])).results()
    assert (result.state, "does not divide over 3" in result.reason) == ("failed", True)
    assert not runs.specs


def test_a_trial_that_diverges_fails_and_the_others_go_on(runs: Runs) -> None:
    """It would diverge each time it is gone on with."""

    def diverge(number: int) -> None:
        if number == 1:
            raise DivergedTrainingError(3, {"loss": float("nan")}, runs.specs[1].optim)

    runs.before = diverge
    assert main([*WORDS, "trials=3"]) == 0
    results = sweep.open_search(plan_of(WORDS)).results()
    assert [result.state for result in results] == ["complete", "failed", "complete"]
    assert "diverged at step 3" in results[1].reason


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)], ids=str
)
def test_a_signal_ends_all_workers_with_the_status_that_schedulers_know(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    monkeypatch.setattr(sweep, "_worker", asleep)

    def signal_once_they_sleep() -> None:
        deadline = time.monotonic() + 100
        while len(list(root.glob("asleep-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=signal_once_they_sleep)
    thread.start()
    assert main([*WORDS, "trials=2", "workers=2"]) == status
    thread.join()
    for path in root.glob("asleep-*"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name.partition("-")[2]), 0)


def test_the_summary_names_the_best_trial_and_its_values(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    main([*WORDS, "trials=6"])
    shown = capsys.readouterr().out
    best = max(range(6), key=lambda number: motion_of(runs.specs[number]))
    row = next(line for line in shown.splitlines() if line.startswith("best"))
    assert f"trial {best}" in row
    assert f"{motion_of(runs.specs[best]):.4g}" in row
    assert f"same2x.weight={runs.specs[best].same2x.weight:.4g}" in row


@pytest.mark.parametrize(
    ("words", "split", "said"),
    [
        ([], "val", "chosen by validation clips"),
        (["evaluation.split=test"], "test", "chosen by the clips that runs are tested on"),
        (["evaluation.subsets=cross,face"], "test", "chosen by the clips that runs are tested on"),
    ],
)
def test_trials_are_chosen_by_clips_that_nothing_is_tested_on_unless_that_is_asked_for(
    runs: Runs, capsys: pytest.CaptureFixture[str], words: list[str], split: str, said: str
) -> None:
    assert main([*WORDS, "trials=2", *words]) == 0
    assert {spec.evaluation.split for spec in runs.specs} == {split}
    assert said in capsys.readouterr().out


def test_hyperband_gives_up_bad_trials_while_they_train(runs: Runs) -> None:
    main(["sweep=same2x", "preset=smoke", "trials=15"])
    found = states("sweep=same2x", "preset=smoke")
    assert set(found) == {"complete", "pruned"}
    pruned = [RunDirectory(runs.root / "runs" / f"run-{n}") for n, state in enumerate(found) if state == "pruned"]
    assert all("pruned" in run.record().tags for run in pruned)
    assert all(len(run.metrics.read()) < 4 for run in pruned)


def test_the_last_step_is_no_time_to_give_up(runs: Runs) -> None:
    """What is trained to its end is evaluated."""
    main(["sweep=same2x", "preset=smoke", "trials=8", "cross_id.steps=1"])
    assert states("sweep=same2x", "preset=smoke", "cross_id.steps=1") == ["complete"] * 8


def test_seeds_are_paired_and_their_mean_is_the_objective(runs: Runs) -> None:
    words = ("sweep=same2x", "preset=smoke", "pruner=none", "seeds=3", "seed=5")
    main([*words, "trials=2"])
    assert [spec.seed for spec in runs.specs] == [5, 6, 7] * 2
    for number, result in enumerate(sweep.open_search(plan_of(words)).results()):
        mean = sum(map(motion_of, runs.specs[3 * number : 3 * number + 3])) / 3
        assert result.values["cross/psnr_foreground"] == pytest.approx(mean)


def test_wilcoxon_leaves_out_seeds_and_the_estimate_is_no_better_than_the_best(runs: Runs) -> None:
    words = ("sweep=same2x_paired", "preset=smoke")
    main([*words, "trials=6"])
    search = sweep.open_search(plan_of(words))
    short = [result for result in search.results() if result.estimated]
    assert short
    assert len(runs.specs) < 6 * 6
    assert not search.best()[0].estimated
    best = search.best()[0].values["cross/psnr_foreground"]
    assert all(result.values["cross/psnr_foreground"] < best for result in short)


def test_a_trial_whose_spec_is_contradictory_fails_and_the_others_go_on(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UserError("a contradiction")

    with monkeypatch.context() as broken:
        broken.setattr(sweep, "edit", refuse)
        main([*WORDS, "trials=1"])
    main([*WORDS, "trials=2"])
    results = sweep.open_search(plan_of(WORDS)).results()
    assert [result.state for result in results] == ["failed", "complete"]
    assert results[0].reason == "a contradiction"


def test_two_objectives_show_a_front(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep=quality_cost", "preset=smoke", "trials=4"]) == 0
    assert "no other trial is better in both" in capsys.readouterr().out.replace("all of them", "both")


def test_a_measure_that_no_clip_has_is_not_a_number(root: Path) -> None:
    run = RunDirectory.claim(root, "a", spec={}, tags={}, experiment="e")
    write_json(run.evaluation_file, {"summary": {"cross": {"psnr": None, "motion": 2.0}}})
    assert measured(run, ("cross/motion",)) == {"cross/motion": 2.0}
    assert math.isnan(measured(run, ("cross/psnr",))["cross/psnr"])


# ---------------------------------------------------------------- words


SLIPS = [
    (["sweep=same2"], "did you mean 'same2x'?"),
    ([], "sweep="),
    (["sweep=same2x", "trials=0"], "trials=0: want a whole number 1..99999"),
    (["sweep=same2x", "trials=x"], "trials=x: want a whole number 1..99999"),
    (["sweep=same2x", "workers=0"], "workers=0: want a whole number 1..99999"),
    (["sweep=same2x", "trials=00000010000000"], "trials=00000010000000: want a whole number 1..99999"),
    (["sweep=same2x", "trails=3"], "did you mean 'trials'?"),
    (["sweep=same2x", "sampler=gpp"], "did you mean 'gp'?"),
    (["sweep=same2x", "pruner=median"], "unknown pruner 'median'"),
    (["sweep=same2x", "same2x.weight=1"], "same2x.weight is searched by sweep same2x"),
    (["sweep=same2x", "ablation=no_same2x"], "same2x.enabled=false: nothing reads same2x.weight"),
    (["sweep=quality_cost", "ablation=no_same2x"], "same2x.enabled is searched by sweep quality_cost"),
    (["sweep=same2x", "preset=smok"], "did you mean 'smoke'?"),
    (["sweep=same2x", "--dryrun"], "did you mean '--dry-run'?"),
    (["sweep=same2x", "--fresh"], "unknown option"),
    (["sweep=same2x", "evaluation.subsets=self"], "unknown metric 'cross/psnr_foreground'"),
    (["sweep=same2x", "trials=1", "trials=2"], "given twice"),
    (["sweep=same2x", "seed=4294967295", "seeds=2", "pruner=none"], "seed=4294967296"),
    (["sweep=none.json"], "cannot be read"),
]


@pytest.mark.parametrize(("words", "said"), SLIPS, ids=[" ".join(words) for words, _ in SLIPS])
def test_a_slip_is_one_line_that_says_what_is_legal(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        plan_of(words)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.sampled_from(sorted(SWEEPS)), st.integers(1, 500), st.integers(1, 8))
def test_neither_budget_nor_workers_nor_storage_makes_another_study(name: str, trials: int, workers: int) -> None:
    words = [f"sweep={name}", f"trials={trials}", f"workers={workers}", "storage=sqlite:////x"]
    assert plan_of(words).study == plan_of([f"sweep={name}"]).study


@pytest.mark.parametrize("scheme", ["", "sqlite:///"])
def test_a_file_is_the_same_storage_however_it_is_named_and_another_one_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    found = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        for name in ("x.log", "../" + folder + "/x.log", str(tmp_path / folder / "x.log")):
            found.append(plan_of(["sweep=same2x", f"storage={scheme}{name}"]).storage)
    assert found == [f"{scheme}{tmp_path}/{folder}/x.log" for folder in "aaabbb"]


@pytest.mark.parametrize("words", [["--list"], ["sweep=same2x", "--dry-run"], ["--help"]])
def test_asking_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from experiments.sweep import main; main(sys.argv[2:]); "
        "print([name for name in sys.argv[1].split(',') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, ",".join(HEAVY), *words], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_dry_run_shows_space_and_study_and_writes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep=same2x", "preset=smoke", "trials=7", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    for part in ("same2x.weight", "0.0 to 2.0", "0.1 to 1.0", "hyperband", "7 trials", plan_of(WORDS[:2]).study):
        assert part in shown
    assert list(root.iterdir()) == []


def test_a_password_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    main(["sweep=same2x", "storage=postgresql://me:secret@host/db", "--dry-run"])
    assert "secret" not in capsys.readouterr().out


def test_the_list_names_every_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--list"])
    shown = capsys.readouterr().out
    assert all(name in shown and entry.question in shown for name, entry in SWEEPS.items())


def test_a_sweep_from_a_file_runs(runs: Runs, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(
        json.dumps(
            {
                "question": "?",
                "space": {"same2x.weight": {"low": 0.0, "high": 1.0}},
                "objectives": [{"metric": "self/motion", "direction": "maximize"}],
            }
        )
    )
    assert main([f"sweep={file}", "preset=smoke", "trials=2"]) == 0
    assert len(runs.specs) == 2
