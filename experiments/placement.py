"""Whole runs on a Ray cluster: what several of them need is made once, and before them.

Every process finds what is there by fingerprint, as in a row on one machine: a killed worker's run goes on from its
checkpoint, whichever machine takes it up. All machines must see the same directory of runs."""

import os
import secrets
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

from directanimator import places
from directanimator.cluster import Done, Failed, Job, Share, cluster, engine_keys, read_engine
from directanimator.command import STOPPING
from directanimator.errors import UserError
from experiments.execution import PLAIN, Execution
from experiments.spec import ExperimentSpec, data_fingerprint, stage_fingerprint, weights_fingerprint

Part = Literal["clips", "same_id", "run"]
_UNIT, _TOGETHER = "process", "processes_per_run"
CLUSTER_WORDS = engine_keys(_UNIT, _TOGETHER)
TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
SHOWN_FAILURES = 3
TOLD_EVERY_S = 60.0
"""How often what is left is told while nothing ends."""


@dataclass(frozen=True)
class Order:
    """A run that is to be made."""

    name: str
    """What people call it; no two orders share one."""
    spec: ExperimentSpec
    tags: Mapping[str, str]
    execution: Execution = PLAIN
    fresh: bool = False
    """Whether what an earlier call left is removed first, and no weights are taken from other runs."""


@dataclass(frozen=True)
class Piece:
    """Of an order all, or a part that other orders need too."""

    part: Part
    order: Order


def read_share(tokens: Sequence[str]) -> tuple[Share | None, list[str]]:
    """What each process of a run takes of a cluster, and how many make a run together, None for this process; and the
    other words.

    Raises: UserError."""
    return read_engine(tokens, _UNIT, most_gpus=1, together=_TOGETHER)


def jobs_of(orders: Sequence[Order]) -> list[Job[Piece]]:
    """The runs, in order, and before them what several of them need: clips, and same-ID stages. Of runs that take each
    other's weights, since they differ in sampling or evaluation alone, each follows the one before."""
    needed = Counter(name for order in orders for name in _needs(order.spec).values())
    jobs: dict[str, Job[Piece]] = {}
    trained: dict[str, str] = {}
    for order in orders:
        after: tuple[str, ...] = ()
        for part, name in _needs(order.spec).items():
            if needed[name] > 1:
                jobs.setdefault(name, Job(name, Piece(part, order), after))
                after = (name,)
        weights = weights_fingerprint(order.spec)
        if weights in trained:
            after += (trained[weights],)
        trained[weights] = order.name
        jobs[order.name] = Job(order.name, Piece("run", order), after)
    return list(jobs.values())


def _needs(spec: ExperimentSpec) -> dict[Part, str]:
    """Names of what is made before the cross-ID stage, in the order of making. Who shares a later one shares those
    before."""
    makers = f"{spec.model.codec}, {spec.model.base}, {spec.model.text_encoder}"
    return {
        "clips": f"clips {data_fingerprint(spec)} ({makers})",
        "same_id": f"same-ID stage {stage_fingerprint(spec, 'same_id')}",
    }


# ---------------------------------------------------------------- the driver


def make_runs(orders: Sequence[Order], share: Share, say: Callable[[str], None], left: Callable[[], str]) -> None:
    """Nothing; afterwards every run is finished. What fails keeps nothing else from being made. `say` hears a line of
    each job that ends, of which `left` tells what is still to be trained, and that alone every minute.

    Raises: UserError naming what failed, once all else is made; InterruptedTrainingError after a signal to stop."""
    from experiments.experiment import start_fresh

    jobs = jobs_of(orders)
    with cluster(share, _environment()) as machines, _shared_place() as sign, _interruptions(say) as heed_signals:
        say(f"Ray cluster of {machines}; runs: {len(orders)}, parts that they share: {len(jobs) - len(orders)}")
        for order in orders:
            if order.fresh:
                start_fresh(order.spec)
        signed = [Job(job.name, (sign, job.work), job.after) for job in jobs]
        tell = now_and_then(lambda: say(left()), TOLD_EVERY_S)

        def look_up() -> None:
            heed_signals()
            tell()

        with closing(machines.carry_out(make, signed, look_up)) as outcomes:
            failures = _told(outcomes, len(jobs), say, left)
    refuse_failures(failures, len(jobs))


def refuse_failures(failures: Mapping[str, str], count: int) -> None:
    """Nothing, if none of so many failed.

    Raises: UserError that names the first ones with their reasons."""
    if failures:
        named = [f"{name}: {reason}" for name, reason in failures.items()][:SHOWN_FAILURES]
        raise UserError(f"{len(failures)} of {count} failed; {' | '.join(named)}")


def _told(
    outcomes: Iterator[tuple[Job[tuple[Path, Piece]], Done[None] | Failed]],
    count: int,
    say: Callable[[str], None],
    left: Callable[[], str],
) -> dict[str, str]:
    """Why jobs failed, by name; each of them is told as it ends."""
    failures: dict[str, str] = {}
    for number, (job, outcome) in enumerate(outcomes, start=1):
        if isinstance(outcome, Failed):
            failures[job.name] = outcome.reason
            say(f"[{number}/{count}] {job.name} failed: {outcome.reason}")
        else:
            say(f"[{number}/{count}] {job.name}, made on {outcome.host}; {left()}")
    return failures


def now_and_then(do: Callable[[], None], seconds: float) -> Callable[[], None]:
    """What does it when it is called, but not sooner than so many seconds after the last time, or after now."""
    last = time.monotonic()

    def called() -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            do()

    return called


def _environment() -> dict[str, str]:
    """What workers must know of where things lie."""
    tracking = os.environ.get(TRACKING_VARIABLE)
    return places.as_variables() | ({TRACKING_VARIABLE: tracking} if tracking else {})


@contextmanager
def _shared_place() -> Iterator[Path]:
    """A file among the runs, by which workers know that theirs are these."""
    sign = places.mlruns_root() / f".ray-{secrets.token_hex(8)}"
    sign.parent.mkdir(parents=True, exist_ok=True)
    sign.touch()
    try:
        yield sign
    finally:
        sign.unlink(missing_ok=True)


@contextmanager
def _interruptions(say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """A block in which a signal to stop is noted, and the function that raises InterruptedTrainingError after one. A
    second one is obeyed at once."""
    from experiments.stage import InterruptedTrainingError

    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)
        restore()

    def restore() -> None:
        for number, handler in old.items():
            signal.signal(number, handler)

    def look_up() -> None:
        if noted:
            say("stopping, once the runs have written their checkpoints; a second signal ends them at once")
            raise InterruptedTrainingError(noted[0])

    old = {number: signal.signal(number, note) for number in STOPPING}
    try:
        yield look_up
    finally:
        restore()


# ---------------------------------------------------------------- a worker


def make(signed: tuple[Path, Piece]) -> None:
    """Nothing; the piece is made.

    Raises: UserError for what cannot be met, on a machine that has other runs, and when the driver interrupts it;
    SystemExit after a signal that was sent to this worker alone, which makes Ray begin it again elsewhere."""
    from experiments.stage import InterruptedTrainingError

    sign, piece = signed
    if not sign.exists():
        raise UserError(f"{socket.gethostname()} does not see {sign.parent}: all machines must share the runs")
    try:
        carry_out(piece)
    except InterruptedTrainingError as stop:
        if stop.signal_number == signal.SIGINT:
            raise UserError(str(stop)) from stop
        raise SystemExit(stop.exit_status) from stop


def carry_out(piece: Piece) -> None:
    """Nothing; makes what the piece says, here.

    Raises: UserError for what cannot be met; InterruptedTrainingError after a signal to stop."""
    from experiments import experiment

    order = piece.order
    if piece.part == "run":
        # With wait: a killed worker's lock may outlive it for a moment, on some file systems.
        tags, adopt = dict(order.tags), not order.fresh
        experiment.run_experiment(order.spec, tags, adopt=adopt, execution=order.execution, wait=True)
        return
    start = experiment.prepared(order.spec, order.execution)
    if piece.part == "same_id":
        experiment.train_teacher(start, order.spec, order.tags["preset"], execution=order.execution)
