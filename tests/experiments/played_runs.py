"""Trainings that are played, for workers that are killed: a stage is a file that grows by a byte a step.

It goes on where it was left. Imports nothing heavy, since every worker has to."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from directanimator.errors import UserError
from directanimator.places import mlruns_root, runs_root
from experiments.placement import Piece
from experiments.spec import stage_name

STEPS = 6
DEADLINE_S = 120


def play(signed: tuple[Path, Piece]) -> None:
    """In place of `placement.make`, in a worker."""
    sign, piece = signed
    assert sign.exists()
    with (mlruns_root() / f"calls-{piece.part}").open("a") as calls:
        calls.write(".")
    if piece.part != "clips":
        _play_stage(stage_name(piece.order.spec, "same_id"))
    if piece.part == "run":
        _play_stage(stage_name(piece.order.spec, "cross_id"))


def _play_stage(name: str) -> None:
    """A training that, after its third step, meets another one that runs meanwhile, if it is a student's; the first
    student is then killed. A file `hold` among the runs keeps stages from ending."""
    log = runs_root() / name
    log.parent.mkdir(exist_ok=True)
    stopped: list[int] = []
    old = signal.signal(signal.SIGINT, lambda number, _: stopped.append(number))
    for step in range(log.stat().st_size if log.exists() else 0, STEPS):
        with log.open("a") as file:
            file.write(".")
        if step == 2 and name.startswith("cross_id"):
            wait_for(lambda: sum(one.stat().st_size > 2 for one in runs_root().glob("cross_id-*")) > 1)
            _kill_once()
        while (mlruns_root() / "hold").exists() and not stopped:
            time.sleep(0.01)
        if stopped:
            raise UserError("interrupted")
    signal.signal(signal.SIGINT, old)


def _kill_once() -> None:
    try:
        (mlruns_root() / "killed").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(work: str) -> str:
    """The work, unless it is bad, wrong or deadly."""
    if work == "bad":
        raise UserError("it cannot be met")
    if work == "wrong":
        raise ZeroDivisionError("of nothing")
    if work == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return work


def wait_for(happened: Callable[[], bool]) -> None:
    """Nothing; returns once it has happened."""
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)
