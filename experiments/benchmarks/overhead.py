"""`python -m experiments.benchmarks.overhead [preset=cpu]`: what logging, hooks and data cost, as a ratio.

Times the training loop as a run uses it (batches from disk, log, progress, checkpoints, MLflow's mirror) against its
pure step alone on a batch in memory, in turn, in one process."""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator

from directanimator.training.loop import train_step
from directanimator.training.state import TrainState, new_state
from experiments.command_line import resolve, run_main
from experiments.edit import edit
from experiments.experiment import launch
from experiments.pools import train_pool
from experiments.record import RunDirectory
from experiments.stage import StageJob, run_steps
from experiments.tracking.server import prepare
from experiments.tracking.tracker import MlflowTracker

STEPS, ROUNDS = 60, 3


def main(tokens: Sequence[str]) -> int:
    """Exit status 0.

    Raises: UserError for bad input."""
    if "--help" in tokens:
        print(__doc__)
        return 0
    spec = resolve(tokens, options=("--debug", "--help")).spec
    accelerator = launch(spec)
    job = StageJob(edit(spec, {"same_id.steps": STEPS}), "same_id", train_pool(spec), teacher=None)
    with tempfile.TemporaryDirectory() as place:
        ratios = measure(job, accelerator, Path(place))
    print(f"median ratio of {ROUNDS} rounds of {STEPS} steps: {statistics.median(ratios):.3f}")
    return 0


def measure(job: StageJob, accelerator: Accelerator, place: Path) -> list[float]:
    """The ratio of every round; the tracking database is made before, as a project makes it once."""
    address = prepare(f"sqlite:///{place}/mlflow.db")
    ratios = []
    for number in range(1, ROUNDS + 1):
        pure, loop = pure_seconds(job, accelerator), loop_seconds(job, accelerator, place / str(number), address)
        ratios.append(loop / pure)
        print(f"round {number}: pure step {pure:.4f} s, in the loop {loop:.4f} s, ratio {ratios[-1]:.3f}", flush=True)
    return ratios


def _warm(job: StageJob, accelerator: Accelerator) -> TrainState:
    state = new_state(job.model(), job.spec.optim)
    _steps(job, state, accelerator, count=3)
    return state


def _steps(job: StageJob, state: TrainState, accelerator: Accelerator, count: int) -> float:
    batch, objective, optim = job.batches(accelerator).batch_at(0), job.objective(), job.spec.optim
    started = time.perf_counter()
    for _ in range(count):
        train_step(state, state.model, batch, objective, optim.learning_rate, optim, accelerator)
    return (time.perf_counter() - started) / count


def pure_seconds(job: StageJob, accelerator: Accelerator) -> float:
    """Seconds of one pure step."""
    return _steps(job, _warm(job, accelerator), accelerator, STEPS)


def loop_seconds(job: StageJob, accelerator: Accelerator, place: Path, address: str) -> float:
    """Seconds of one step in the loop of a run, from log line to log line; the last checkpoint is not in it."""
    state = dataclasses.replace(_warm(job, accelerator), step=0)
    run = RunDirectory.claim(place, "overhead", spec={}, tags={}, experiment="overhead")
    tracker = MlflowTracker(address)
    tracker.start(run)
    run_steps(state, job, run, accelerator)
    records = run.metrics.read()
    tracker.finish()
    return (records[-1].time - records[0].time) / (len(records) - 1)


if __name__ == "__main__":
    run_main(main)
