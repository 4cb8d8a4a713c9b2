"""`python -m experiments.run preset=cpu ablation=no_face_cue seed=1 same2x.weight=0.25`: train, evaluate, log.

The same command goes on where an earlier one stopped; a finished experiment is shown, not run again. Imports nothing
heavy until it is known that something is to be run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from directanimator.cluster import Share
from directanimator.errors import UserError
from experiments.command_line import Resolved, render_dry_run, render_list, render_usage, resolve, run_main
from experiments.execution import EXECUTION_WORDS, Execution, is_first_process, read_execution, started_processes
from experiments.placement import CLUSTER_WORDS, read_share
from experiments.spec import STAGES, stage_name, steps_of

if TYPE_CHECKING:
    from experiments.record import RunDirectory

_SYNC = "sync="


def main(tokens: Sequence[str]) -> int:
    """Exit status: 0, 130 after Ctrl-C, 75 after SIGTERM or SIGUSR1 (start the same command again).

    Raises: UserError for bad input."""
    synced = [token.removeprefix(_SYNC) for token in tokens if token.startswith(_SYNC)]
    if synced:
        return _sync(synced, tokens)
    if not tokens or "--help" in tokens:
        print(render_usage())
        return 0
    if "--list" in tokens:
        print(render_list())
        return 0
    execution, others = read_execution(tokens)
    share, rest = read_share(others)
    resolved = resolve(rest, also=(*EXECUTION_WORDS, *CLUSTER_WORDS))
    if is_first_process():
        print(render_dry_run(resolved), flush=True)
    return 0 if "--dry-run" in resolved.options else _run(resolved, execution, share)


def _sync(names: Sequence[str], tokens: Sequence[str]) -> int:
    from directanimator.places import runs_root
    from experiments.tracking.address import default_uri
    from experiments.tracking.mirror import sync

    if len(tokens) != 1:
        raise UserError(f"sync=RUN stands alone, got {' '.join(tokens)}")
    path = runs_root() / names[0]
    run_id = sync(path if path.exists() else Path(names[0]), default_uri())
    print(f"{names[0]} is up to date in MLflow as run {run_id}")
    return 0


def _run(resolved: Resolved, execution: Execution, share: Share | None) -> int:
    from experiments.stage import InterruptedTrainingError

    try:
        run = _run_here(resolved, execution) if share is None else _run_elsewhere(resolved, execution, share)
    except InterruptedTrainingError as stop:
        print(stop)
        return stop.exit_status
    if is_first_process():
        _show(resolved, run)
    return 0


def _tags(resolved: Resolved) -> dict[str, str]:
    return {"preset": resolved.preset.name, "ablation": resolved.ablation.name}


def _run_here(resolved: Resolved, execution: Execution) -> "RunDirectory":
    from experiments.experiment import run_experiment, start_fresh

    fresh = "--fresh" in resolved.options
    if fresh and is_first_process():
        start_fresh(resolved.spec)
    return run_experiment(resolved.spec, _tags(resolved), adopt=not fresh, execution=execution)


def _run_elsewhere(resolved: Resolved, execution: Execution, share: Share) -> "RunDirectory":
    from directanimator.places import runs_root
    from experiments.placement import Order, make_runs
    from experiments.record import RunDirectory

    if started_processes() > 1:
        raise UserError("engine=ray starts processes itself; leave the launcher out")
    spec, fresh = resolved.spec, "--fresh" in resolved.options
    order = Order(f"{resolved.ablation.name}, seed {spec.seed}", spec, _tags(resolved), execution, fresh)

    def done() -> str:
        logs = {stage: RunDirectory(runs_root() / stage_name(spec, stage)).metrics for stage in STAGES}
        return ", ".join(
            f"{stage} {log.last_step():,} of {steps_of(spec, stage):,} steps" for stage, log in logs.items()
        )

    make_runs([order], share, lambda line: print(line, flush=True), done)
    return RunDirectory.open(runs_root() / stage_name(spec, "cross_id"))


def _show(resolved: Resolved, run: "RunDirectory") -> None:
    from experiments.evaluation.comparison import render_comparison
    from experiments.evaluation.evaluate import read_evaluation
    from experiments.evaluation.measures import render_measures

    evaluation = read_evaluation(run)
    print(render_comparison({resolved.ablation.name: [evaluation]}))
    print(render_measures(evaluation))
    print(f"run      {run.path}\nsheets   {run.media}\nbrowse   python -m experiments.ui")


if __name__ == "__main__":
    run_main(main)
