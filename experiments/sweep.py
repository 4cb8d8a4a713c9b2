"""`python -m experiments.sweep sweep=same2x trials=40 workers=2 preset=cpu`: searches a space, each trial a run.

The same command goes on with the study where it was left; a trial whose worker was killed is taken over by the next
one. Imports nothing heavy until it is known that something is to be run."""

import io
import math
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from directanimator.command import Stopped, ended_by_signals, stopped_status
from directanimator.errors import UserError
from directanimator.places import mlruns_root
from directanimator.words import whole
from experiments.command_line import KEYS, OPTIONS, Resolved, look_up, parse, resolve, run_main
from experiments.edit import edit
from experiments.execution import (
    EXECUTION_USAGE,
    EXECUTION_WORDS,
    Execution,
    check_batch,
    is_first_process,
    read_execution,
    started_processes,
)
from experiments.record import PRUNED_TAG, MetricRecord, RunDirectory, training_seconds
from experiments.spec import ExperimentSpec
from experiments.sweeps.registry import find_sweep
from experiments.sweeps.report import progress_line, render_plan, render_results, render_sweeps
from experiments.sweeps.space import SECONDS, Pruner, Sampler, checked, journal_address, located, study_name

if TYPE_CHECKING:
    from experiments.sweeps.search import Search, Trial
    from experiments.sweeps.space import Sweep
    from experiments.sweeps.together import Together

WORDS = ("sweep", "trials", "workers", "seeds", "sampler", "pruner", "storage")
CHOICES = tuple(option for option in OPTIONS if option != "--fresh")
DEFAULT_TRIALS = 20
MOST = 99_999
"""Trials, workers or seeds that can be asked for."""
SPLIT = "evaluation.split"
REPORTED = "train/denoising"
"""The loss that pruning watches: it does not hold the alignment, whose weight may be what is searched."""
USAGE = f"""usage: python -m experiments.sweep sweep=NAME [trials=20] [workers=1] [seeds=N] [sampler=tpe|gp]
       [pruner=none|hyperband|wilcoxon] [storage=URL] [preset=NAME] [ablation=NAME] [PATH=VALUE ...]
       {EXECUTION_USAGE}

try
  python -m experiments.sweep --list                                   what there is to search
  python -m experiments.sweep sweep=same2x --dry-run                   the space and the study
  python -m experiments.sweep sweep=same2x preset=smoke trials=6       a sweep in a minute
  python -m experiments.sweep sweep=mine.json trials=40 workers=2      your own space
  torchrun --nproc_per_node=4 -m experiments.sweep sweep=same2x        each trial on four processes
  python -m experiments.ui                                             runs and studies in the browser"""


@dataclass(frozen=True)
class Plan:
    """What a command line asks to be searched. The study is named by sweep and spec alone."""

    study: str
    sweep: "Sweep"
    resolved: Resolved
    execution: Execution
    trials: int
    workers: int
    storage: str
    """Address of the studies, the same from any working directory."""

    @property
    def spec(self) -> ExperimentSpec:
        """What trials edit."""
        return self.resolved.spec


def place() -> Path:
    """Where studies, locks and artifacts lie."""
    return mlruns_root() / "optuna"


def main(tokens: Sequence[str]) -> int:
    """Exit status: 0, 1 if all workers died, 130 after Ctrl-C, 75 after SIGTERM or SIGUSR1.

    Raises: UserError for bad input."""
    if not tokens or "--help" in tokens:
        print(USAGE)
        return 0
    if "--list" in tokens:
        print(render_sweeps())
        return 0
    plan = plan_of(tokens)
    if plan.workers > 1 and started_processes() > 1:
        raise UserError(f"workers={plan.workers}: want 1 under a launcher, whose processes make each trial together")
    if not is_first_process():
        return _follow(plan)
    print(render_plan(plan.study, plan.sweep, plan.resolved, plan.trials, plan.storage), flush=True)
    if "--dry-run" in plan.resolved.options:
        return 0
    search = open_search(plan)  # makes the storage before workers meet there
    status = work(plan) if plan.workers == 1 else _work_side_by_side(plan, tokens)
    split = plan.spec.evaluation.split
    print(render_results(plan.study, search.results(), search.best(), plan.sweep, split), flush=True)
    return status


def _follow(plan: Plan) -> int:
    from experiments.sweeps.together import Together

    return 0 if "--dry-run" in plan.resolved.options else Together(plan.spec, plan.execution).follow()


def plan_of(tokens: Sequence[str]) -> Plan:
    """The plan that the words spell, checked as a whole.

    Raises: UserError for unknown words, and for what cannot be searched."""
    execution, tokens = read_execution(tokens)
    request = parse(tokens, keys=(*WORDS, *KEYS), options=CHOICES, also=EXECUTION_WORDS)
    words = request.words
    if "sweep" not in words:
        raise UserError("no sweep is named: use sweep=NAME; --list shows them")
    name, sweep = find_sweep(words["sweep"])
    told = [token for token in tokens if token.partition("=")[0] not in WORDS]
    resolved = resolve(told)
    if SPLIT not in request.edits and {"self", "cross"}.issuperset(resolved.spec.evaluation.subsets):
        resolved = resolve([*told, f"{SPLIT}=val"])  # who chooses by the test clips has nothing to test by
    for path in sorted(sweep.space.keys() & {*request.edits, *resolved.ablation.edits}):
        raise UserError(f"{path} is searched by sweep {name}: leave out its edit")
    chosen = checked(sweep.model_copy(update=_changes(words)), resolved.spec)
    return Plan(
        study=study_name(name, chosen, resolved.spec),
        sweep=chosen,
        resolved=resolved,
        execution=execution,
        trials=whole(words, "trials", DEFAULT_TRIALS, 1, MOST),
        workers=whole(words, "workers", 1, 1, MOST),
        storage=located(words.get("storage", journal_address(place()))),
    )


def _changes(words: Mapping[str, str]) -> dict[str, object]:
    changes: dict[str, object] = {}
    for key, kind in (("sampler", Sampler), ("pruner", Pruner)):
        if key in words:
            changes[key] = look_up(key, words[key], {name: name for name in get_args(kind)})
    if "seeds" in words:
        changes["seeds"] = whole(words, "seeds", 1, 1, MOST)
    return changes


def open_search(plan: Plan) -> "Search":
    """The plan's study, as one worker sees it.

    Raises: UserError if the storage cannot be used."""
    from experiments.sweeps.search import Search

    return Search(plan.study, plan.sweep, plan.spec.seed, plan.storage, place())


# ---------------------------------------------------------------- one worker


def work(plan: Plan) -> int:
    """Exit status of a worker, which runs trials until `plan.trials` are done.

    Raises: UserError for what may be no trial's own fault: the trial is then left for the next call. Refused
        for one reason as often as workers may die of it, it fails."""
    from experiments.stage import InterruptedTrainingError
    from experiments.sweeps.together import Together

    search, together = open_search(plan), Together(plan.spec, plan.execution)
    while True:
        try:
            with search.next_trial(plan.trials) as trial:
                if trial is None:
                    together.dismiss()
                    return 0
                _attempt(trial, plan, together)
        except InterruptedTrainingError as stop:
            print(stop, flush=True)
            return stop.exit_status
        print(progress_line(search.results(), search.best(), trial.number, plan.trials, plan.workers), flush=True)


def _attempt(trial: "Trial", plan: Plan, together: "Together") -> None:
    from directanimator.training.loop import DivergedTrainingError
    from experiments.stage import AbandonedTrainingError
    from experiments.sweeps.search import MOST_DEATHS

    try:
        specs = [edit(plan.spec, {**trial.edits, "seed": plan.spec.seed + index}) for index in range(plan.sweep.seeds)]
        check_batch(specs[0].optim.global_batch_size, started_processes())
    except UserError as problem:
        trial.fail(str(problem))
        return
    try:
        _measure(trial, plan, specs, together)
    except AbandonedTrainingError:
        trial.give_up()
    except DivergedTrainingError as problem:  # would be so each time
        trial.fail(str(problem))
    except UserError as problem:  # a full disk, or values that nobody could refuse before the model was made
        if not trial.is_hopeless(str(problem)):
            raise
        trial.fail(f"{problem}; refused {MOST_DEATHS} times")


def _measure(trial: "Trial", plan: Plan, specs: Sequence[ExperimentSpec], together: "Together") -> None:
    """Nothing; runs the trial's seeds in turn, until all are done or the pruner has seen enough."""
    from experiments.sweeps.together import TrialRun

    resolved, sweep = plan.resolved, plan.sweep
    tags = {"preset": resolved.preset.name, "ablation": resolved.ablation.name}
    tags |= {"study": plan.study, "trial": str(trial.number)}
    runs: list[RunDirectory] = []
    scores: list[dict[str, float]] = []
    enough = False
    while len(runs) < len(specs) and not enough:
        watch = _Watch(trial, sweep) if sweep.pruner == "hyperband" else _watch_nothing
        runs.append(together.run(TrialRun(spec=specs[len(runs)], tags=tags), watch))
        scores.append(measured(runs[-1], sweep.metrics))
        if sweep.pruner == "wilcoxon":
            enough = trial.report(len(runs), scores[-1][sweep.objectives[0].metric])
    means = {metric: math.fsum(score[metric] for score in scores) / len(scores) for metric in sweep.metrics}
    estimated = len(runs) < len(specs)
    trial.describe(_note(runs, plan), _shown(runs[-1]), runs=[run.path.name for run in runs])
    trial.complete(means | (trial.estimate() if estimated else {}), estimated=estimated)


def _watch_nothing(_run: RunDirectory, _step: int) -> bool:
    return False


class _Watch:
    """Tells the pruner how the training loss stands, and the training whether to go on."""

    def __init__(self, trial: "Trial", sweep: "Sweep") -> None:
        self._trial = trial
        self._sign = 1.0 if sweep.objectives[0].direction == "minimize" else -1.0

    def __call__(self, run: RunDirectory, step: int) -> bool:
        steps = int(str(run.spec()["cross_id.steps"]))
        if step not in reporting_steps(steps):
            return False
        number, loss = list(loss_reports(run.metrics.read(), steps).items())[-1]
        worse = self._trial.report(number, self._sign * loss)
        if not worse or step == steps:  # what is trained to its end is evaluated
            return False
        run.update(tags={PRUNED_TAG: f"after step {step} of {steps}"})
        return True


def reporting_steps(steps: int) -> list[int]:
    """The steps after which a training of so many steps is judged, evenly spread; the last one is among them."""
    from experiments.sweeps.search import REPORTS

    count = min(steps, REPORTS)
    return [steps * number // count for number in range(1, count + 1)]


def loss_reports(records: Sequence[MetricRecord], steps: int) -> dict[int, float]:
    """The mean denoising loss since the report before, by number of the report from 1, of those that are due.

    All trials have the same clips, noise and timesteps at a step, so that means of the same steps are paired."""
    losses = {record.step: record.values[REPORTED] for record in records}
    ends = reporting_steps(steps)
    return {
        number: math.fsum(losses[step] for step in range(start + 1, end + 1)) / (end - start)
        for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False), 1)
        if end in losses
    }


def measured(run: RunDirectory, metrics: Sequence[str]) -> dict[str, float]:
    """The metrics of a finished run; NaN where no clip has the measure."""
    from experiments.evaluation.evaluate import read_evaluation

    summary = read_evaluation(run)["summary"]
    assert isinstance(summary, dict)
    values: dict[str, float] = {}
    for metric in metrics:
        if metric == SECONDS:
            teacher = RunDirectory(run.path.parent / run.record().tags["teacher_run"])
            values[metric] = training_seconds(run.metrics.read()) + training_seconds(teacher.metrics.read())
        else:
            subset, _, name = metric.partition("/")
            value = summary[subset].get(name)
            values[metric] = math.nan if value is None else float(value)
    return values


def _shown(run: RunDirectory) -> list[Path]:
    """The sheet and the first video of the run's last evaluation."""
    return [file for name in ("*_sheet.png", "*_00.mp4") for file in sorted(run.media.rglob(name))[:1]]


def _note(runs: Sequence[RunDirectory], plan: Plan) -> str:
    names = "\n".join(f"- `{run.path.name}`" for run in runs)
    return f"{plan.sweep.question}\n\nRuns, in `mlruns/runs` and, tagged `study={plan.study}`, in MLflow:\n\n{names}\n"


# ---------------------------------------------------------------- several workers


def _work_side_by_side(plan: Plan, tokens: Sequence[str]) -> int:
    """Exit status; the workers share the study, and who is left takes over from who dies."""
    context = multiprocessing.get_context("spawn")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // plan.workers)))
    workers = [context.Process(target=_worker, args=(list(tokens),)) for _ in range(plan.workers)]
    try:
        with ended_by_signals():
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
    except Stopped as stop:
        started = [worker for worker in workers if worker.pid is not None]
        for worker in started:
            worker.terminate()
        for worker in started:
            worker.join()
        return stopped_status(stop.signal_number)
    died = [worker.exitcode for worker in workers if worker.exitcode]
    if died:
        outcomes = ", ".join(f"signal {-code}" if code and code < 0 else f"status {code}" for code in died)
        print(f"{len(died)} of {plan.workers} workers ended early ({outcomes})", file=sys.stderr)
    return 1 if len(died) == plan.workers else 0


class _NoTerminal(io.TextIOWrapper):
    """Standard error without progress bars, which workers would draw over each other."""

    def isatty(self) -> bool:
        return False


def _worker(tokens: list[str]) -> None:
    sys.stderr = _NoTerminal(sys.stderr.buffer, line_buffering=True)
    sys.argv[1:] = tokens
    run_main(lambda words: work(plan_of(words)))


if __name__ == "__main__":
    run_main(main)
