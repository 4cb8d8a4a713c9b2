"""`python -m experiments.table table=cues seeds=3`: run what is missing of a table, then say what follows from it.

Runs and shared stages are found by fingerprint, so the same command goes on where an earlier one stopped. Imports
nothing heavy until it is known that something is to be run or shown."""

import sys
import time
from collections.abc import Sequence

from directanimator.cluster import Share
from directanimator.errors import UserError
from directanimator.places import mlruns_root, runs_root
from experiments.command_line import run_main
from experiments.execution import PLAIN, Execution, read_execution, started_processes
from experiments.placement import read_share
from experiments.record import RunDirectory, Status, commit_tags
from experiments.tables.plan import (
    Plan,
    PlannedRun,
    cost_of,
    is_finished,
    make_plan,
    render_plan,
    render_tables,
    render_usage,
    states_of,
)

EXPERIMENT = "directanimator-tables"


def main(tokens: Sequence[str]) -> int:
    """Exit status: 0, 130 after Ctrl-C, 75 after SIGTERM or SIGUSR1 (start the same command again).

    Raises: UserError for bad input."""
    if not tokens or "--help" in tokens:
        print(render_usage())
        return 0
    if "--list" in tokens:
        print(render_tables())
        return 0
    if started_processes() > 1:
        raise UserError("a table is driven by one process; start experiments.run under a launcher instead")
    execution, others = read_execution(tokens)
    share, rest = read_share(others)
    plan = make_plan(rest)
    print(render_plan(plan), flush=True)
    return 0 if "--dry-run" in rest else run_table(plan, share, execution)


def run_table(plan: Plan, share: Share | None = None, execution: Execution = PLAIN) -> int:
    """Exit status; trains what is missing, writes the report and shows it. One driver at a time. With a share, runs are
    trained on a Ray cluster, and each takes that much of a machine.

    Raises: UserError if another process makes this table, or a run cannot be made."""
    from experiments.stage import InterruptedTrainingError

    record = RunDirectory(mlruns_root() / "tables" / plan.name)
    with record.exclusive():
        _claim(record, plan)
        status: Status = "failed"
        try:
            _run_missing(plan, share, execution)
            _report(plan, record)
            status = "finished"
        except InterruptedTrainingError as stop:
            status = "interrupted"
            print(stop)
            return stop.exit_status
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            record.update(status=status)
        _sync(record)
    return 0


def _claim(record: RunDirectory, plan: Plan) -> None:
    spec = {
        "table": plan.table.name,
        "preset": plan.preset,
        "seeds": list(plan.seeds),
        "edits": {edit.path: edit.new for edit in plan.edits},
        "runs": {name: [plan.run(name, seed).stage("cross_id") for seed in plan.seeds] for name in plan.variants},
    }
    title = f"table {plan.table.name}, {plan.preset}, {len(plan.seeds)} seeds"
    tags = {"title": title, "table": plan.table.name, "preset": plan.preset, **commit_tags()}
    RunDirectory.claim(record.path.parent, record.path.name, spec=spec, tags=tags, experiment=EXPERIMENT)


# ---------------------------------------------------------------- running


def _run_missing(plan: Plan, share: Share | None, execution: Execution) -> None:
    """Nothing; makes the runs that are not there. What fails keeps nothing else from being made.

    Raises: UserError naming variants and seeds, once all else is made; InterruptedTrainingError after a signal."""
    from experiments.evaluation.evaluate import is_evaluated
    from experiments.experiment import check_same_clips, run_experiment
    from experiments.placement import refuse_failures

    for run in plan.runs:
        check_same_clips(run.spec)  # or runs on two sets of clips would be subtracted from each other
    missing = [
        run
        for run in plan.runs
        if not is_finished(run) or not is_evaluated(RunDirectory(runs_root() / run.stage("cross_id")), run.spec)
    ]
    pace = _Pace(cost_of(plan, states_of(plan)).steps_left)
    if share is not None and missing:
        _make_side_by_side(missing, plan, share, execution, pace)
        return
    failures: dict[str, str] = {}
    for number, run in enumerate(missing, start=1):
        left, name = cost_of(plan, states_of(plan)).steps_left, f"{run.variant}, seed {run.seed}"
        _say(f"[{number}/{len(missing)}] {name}; {left:,} steps to train{pace.left(left)}")
        try:
            run_experiment(run.spec, _tags(run, plan), execution=execution)
        except UserError as problem:
            failures[name] = str(problem)
            _say(f"{name} failed: {problem}")
    refuse_failures(failures, len(missing))


def _make_side_by_side(
    missing: Sequence[PlannedRun], plan: Plan, share: Share, execution: Execution, pace: "_Pace"
) -> None:
    from experiments.placement import Order, make_runs

    def left() -> str:
        steps = cost_of(plan, states_of(plan)).steps_left
        return f"{steps:,} steps to train{pace.left(steps)}"

    orders = [Order(f"{run.variant}, seed {run.seed}", run.spec, _tags(run, plan), execution) for run in missing]
    make_runs(orders, share, _say, left)


def _tags(run: PlannedRun, plan: Plan) -> dict[str, str]:
    return {"preset": plan.preset, "ablation": run.variant, "table": plan.table.name}


class _Pace:
    """Tells how long what is left will take, once something is done."""

    def __init__(self, steps: int) -> None:
        self._steps, self._started = steps, time.monotonic()

    def left(self, steps: int) -> str:
        """`, about 12 min left`; empty before anything is done."""
        done = self._steps - steps
        if not done:
            return ""
        minutes = (time.monotonic() - self._started) / done * steps / 60
        return f", about {minutes:.0f} min left" if minutes >= 1 else ", less than a minute left"


def _say(text: str) -> None:
    print(text, flush=True)


# ---------------------------------------------------------------- showing


def _report(plan: Plan, record: RunDirectory) -> None:
    from experiments.tables.page import write_page
    from experiments.tables.report import render_text, write_report
    from experiments.tables.result import read_table

    result = read_table(plan)
    write_report(result, record)
    write_page(result, plan, record)
    print(f"\n{render_text(result)}")
    print(f"report  {record.media}\npage    {record.media / 'table.html'}", flush=True)


def _sync(record: RunDirectory) -> None:
    """Nothing; the table's copy in MLflow is made, or a line says why not."""
    from experiments.tracking.address import default_uri
    from experiments.tracking.mirror import sync

    try:
        sync(record.path, default_uri())
    except UserError as problem:
        print(f"warning: {problem}; the report is whole, and the same command sends it later", file=sys.stderr)


if __name__ == "__main__":
    run_main(main)
