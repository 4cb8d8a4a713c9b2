"""Shows runs on an MLflow server while they go on: best effort, off the training's path."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from directanimator.errors import UserError
from experiments.record import RunDirectory
from experiments.tracking.address import public_uri
from experiments.tracking.machine import Machine
from experiments.tracking.mirror import Mirror


class Tracker(Protocol):
    """Shows a run to people while it goes on. Never delays or fails the run; the record is the truth."""

    def start(self, run: RunDirectory) -> None:
        """Nothing; from now on what is added to the record is shown. What is finished may be shown once only."""

    def finish(self) -> None:
        """Nothing; everything in the record, its status included, is shown, or a line on stderr says that it is not."""


class NullTracker:
    """Shows nothing: for ranks above 0, and for runs without tracking."""

    def start(self, run: RunDirectory) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""


_SHOWN: dict[tuple[str, Path], bytes] = {}
"""By address and place, the records of finished runs that this process has shown whole: it meets a teacher again with
every student, and looking through its copy takes longer than a short trial."""


class MlflowTracker:
    """Mirrors a run to MLflow from a thread of its own.

    The first failure is one line on stderr. Further attempts come only every `retry_seconds` and once at the end;
    since a push says only what MLflow lacks, a server that comes back gets everything."""

    def __init__(
        self, uri: str, *, every_seconds: float = 10.0, retry_seconds: float = 300.0, patience_seconds: float = 60.0
    ) -> None:
        self._uri = uri
        self._every = every_seconds
        self._retry = retry_seconds
        self._patience = patience_seconds
        self._stop = threading.Event()
        self._warned = False
        self._not_before = 0.0
        self._thread: threading.Thread | None = None

    def start(self, run: RunDirectory) -> None:
        """Nothing, at once; connecting, and making a database where there is none, happen in the thread."""
        if _SHOWN.get((self._uri, run.path)) == run.record_file.read_bytes():
            return
        self._stop.clear()
        self._thread = threading.Thread(target=self._mirror, args=(run,), name="mlflow-mirror", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Nothing, after `patience_seconds` at most. Set the run's status first."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._warn(f"MLflow at {public_uri(self._uri)} is too slow; its copy of the run is behind")
        self._thread = None

    def _mirror(self, run: RunDirectory) -> None:
        mirror = Mirror(run, self._uri)
        if run.status != "finished":
            self._follow(run, mirror)
        if self._succeeds(mirror.complete) and run.status == "finished":
            _SHOWN[self._uri, run.path] = run.record_file.read_bytes()

    def _follow(self, run: RunDirectory, mirror: Mirror) -> None:
        machine = Machine(run.system)
        stopping = False
        while not stopping:
            self._succeeds(machine.sample)
            if time.monotonic() >= self._not_before:
                self._succeeds(mirror.push)
            stopping = self._stop.wait(self._every)

    def _succeeds(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except UserError as problem:
            self._not_before = time.monotonic() + self._retry
            self._warn(str(problem))
            return False
        return True

    def _warn(self, problem: str) -> None:
        if not self._warned:
            sys.stderr.write(f"warning: {problem}; the run goes on, and its record can be synced later\n")
        self._warned = True
