"""The frame of every command: what became of it, as an exit status and a line for the person who typed it."""

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from directanimator.errors import UserError

BAD_INPUT, INTERRUPTED = 2, 130
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Signals after which work in hand is kept; schedulers send the last one ahead of a time limit."""
REQUEUE = 75
"""EX_TEMPFAIL: the exit status after SIGTERM or SIGUSR1, by which a scheduler knows to start the same command again."""
DEBUG = "--debug"
"""The option of every command that shows where an error came from."""


@contextmanager
def on_stopping(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """A block in which the signals of STOPPING go to the handler; afterwards they do what they did."""
    old = {number: signal.signal(number, handler) for number in STOPPING}
    try:
        yield
    finally:
        for number, former in old.items():
            signal.signal(number, former)


class Stopped(KeyboardInterrupt):
    """A signal of STOPPING ended a block."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """A block that every signal of STOPPING ends at once, as Ctrl-C would; `run_command` answers each by its status.

    Once it ends, only another Ctrl-C ends it sooner: schedulers repeat their signals, and what is half done has to be
    put away. Nothing changes outside the main thread, which alone is told of signals.
    Raises: Stopped."""
    stopping = False

    def stop(signal_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping and signal_number != signal.SIGINT:
            return
        stopping = True
        raise Stopped(signal_number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with on_stopping(stop):
        yield


def stopped_status(signal_number: int) -> int:
    """The exit status of a command that a signal stopped: 130 after Ctrl-C, else the one to be started again on."""
    return INTERRUPTED if signal_number == signal.SIGINT else REQUEUE


def run_command(
    command: Callable[[list[str]], int], tokens: Sequence[str] | None = None, interrupted: str = "interrupted"
) -> int:
    """The exit status: the command's own, 2 after a UserError, 130 after Ctrl-C, 75 after SIGTERM or SIGUSR1, whatever
    the command was at. Errors are one line on stderr.

    `tokens` are the process's arguments if None is given; the command gets them without `--debug`. `interrupted` tells
    what an interruption leaves. Any other exception is a defect, and goes on."""
    given = list(sys.argv[1:] if tokens is None else tokens)
    try:
        with ended_by_signals():
            return command([token for token in given if token != DEBUG])
    except UserError as error:
        if DEBUG in given:
            traceback.print_exc()
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt as stop:
        print(interrupted, file=sys.stderr)
        return stopped_status(stop.signal_number) if isinstance(stop, Stopped) else INTERRUPTED
