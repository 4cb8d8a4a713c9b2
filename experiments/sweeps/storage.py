"""Where studies are kept: a journal file that many processes append to, or a database; and their dashboard."""

import contextlib
import json
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from directanimator.atomic import explained
from directanimator.errors import UserError, did_you_mean
from experiments.record import locked
from experiments.tracking.address import public_uri

JOURNAL_PATIENCE_S = 60.0
_DRIVERS = {"postgresql": "postgresql+psycopg", "sqlite": "sqlite"}


class _KernelLock(JournalFileOpenLock):
    """The journal's lock: free as soon as its holder dies, and the holder's half-written line is then removed."""

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal), grace_period=None)
        self._journal = journal
        self._held = contextlib.ExitStack()

    def acquire(self) -> bool:
        deadline = time.monotonic() + JOURNAL_PATIENCE_S
        while True:
            try:
                self._held.enter_context(locked(self._journal.with_name(f"{self._journal.name}.lock"), wait=False))
                break
            except UserError as problem:
                if time.monotonic() > deadline:
                    raise UserError(f"the studies in {self._journal} are locked by another process") from problem
                time.sleep(0.002)
        _remove_torn_line(self._journal)
        return True

    def release(self) -> None:
        self._held.close()


def _remove_torn_line(journal: Path) -> None:
    with journal.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        start = end
        while start and not _is_newline(file.fileno(), start - 1):
            start -= 1
        if start != end:
            file.truncate(start)


def _is_newline(descriptor: int, offset: int) -> bool:
    return os.pread(descriptor, 1, offset) == b"\n"


def open_storage(address: str) -> BaseStorage:
    """The storage at an address: `postgresql://...`, `sqlite:///...`, or the path of a journal file.

    Raises: UserError if it cannot be used."""
    with storage_explained(address):
        if "://" in address:
            return _database(address)
        journal = Path(address).resolve()  # or a link to it would have a lock of its own
        with explained(journal):
            journal.parent.mkdir(parents=True, exist_ok=True)
            journal.open("ab").close()
        _check_journal(journal)
        return JournalStorage(JournalFileBackend(str(journal), lock_obj=_KernelLock(journal)))


def _database(address: str) -> BaseStorage:
    scheme, _, rest = address.partition("://")
    if scheme not in _DRIVERS:
        known = ", ".join(f"{name}://" for name in _DRIVERS)
        raise UserError(f"unknown storage {scheme}://: known are {known} and files{did_you_mean(scheme, _DRIVERS)}")
    # No connection stays open through a training of hours, during which the server may restart.
    limits: dict[str, object] = {"connect_args": {"connect_timeout": 10}} if scheme == "postgresql" else {}
    return RDBStorage(f"{_DRIVERS[scheme]}://{rest}", engine_kwargs={"poolclass": NullPool, **limits})


def _check_journal(journal: Path) -> None:
    with journal.open("rb") as file:
        first = file.readline()
    if first.endswith(b"\n"):
        try:
            entry = json.loads(first)
            known = isinstance(entry, dict) and entry.keys() >= {"op_code", "worker_id"}
        except ValueError:
            known = False
        if not known:
            raise UserError(f"{journal} is no journal of Optuna")


def serve_dashboard(address: str, place: Path, host: str, port: int) -> None:
    """Nothing; serves the dashboard of all studies at an address, with the artifacts in `place`, until killed.

    Raises: UserError if the storage cannot be used."""
    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import run_server

    artifacts = place / "artifacts"
    with explained(artifacts):
        artifacts.mkdir(parents=True, exist_ok=True)
    run_server(open_storage(address), host, port, FileSystemArtifactStore(str(artifacts)))


@contextlib.contextmanager
def storage_explained(address: str) -> Iterator[None]:
    """A block in which what goes wrong with the storage becomes one line without password, and Optuna is quiet."""
    try:
        with quiet():
            yield
    except UserError:
        raise
    except ImportError as problem:
        wanted = "pip install 'directanimator[postgres]'"
        raise UserError(f"{public_uri(address)} needs another package: {wanted}") from problem
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError, json.JSONDecodeError) as problem:
        cause = problem.__cause__ or problem
        reason = " ".join(str(cause).replace(address, public_uri(address)).split())[:200]
        raise UserError(f"the studies at {public_uri(address)} cannot be used: {reason}") from problem


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A block without Optuna's remarks on what is experimental, and without its log of every trial."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
