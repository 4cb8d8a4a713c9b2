"""An MLflow server, or its database here: made when missing, of this version, without long waits."""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from directanimator.atomic import atomic_write
from directanimator.errors import UserError
from experiments.record import Status, locked
from experiments.tracking.address import public_uri, sqlite_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_MLFLOW_STATUS: dict[Status, str] = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "interrupted": "KILLED",
    "failed": "FAILED",
}
_MLFLOW_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


def prepare(uri: str) -> str:
    """The address made absolute; a SQLite database is there and of this MLflow's version afterwards.

    Raises: UserError in one line if that cannot be."""
    with failures_explained(uri):
        database = sqlite_file(uri)
        if database is None:
            return uri
        _ensure_database(database)
        return f"sqlite:///{database}"


def connected_client(uri: str) -> "MlflowClient":
    """A client of the address, whose database is there.

    Raises: UserError in one line if that cannot be."""
    settle_mlflow()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=prepare(uri))


def settle_mlflow() -> None:
    """Settings that MLflow reads when it is imported: no long waits, no chatter, no reports to its makers."""
    for name, value in _MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)


def experiment_id(client: "MlflowClient", name: str, artifacts: str | None) -> str:
    """Of the experiment of that name, made if there is none; another process may make it at the same time.

    Raises: UserError if it is deleted."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException as problem:
            if problem.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        raise UserError(f"MLflow experiment {name!r} is deleted; restore it or choose another name")
    return str(found.experiment_id)


def set_status(client: "MlflowClient", there: "Run", status: Status) -> None:
    """Nothing; MLflow says that the run it has is in this state, if it did not."""
    word = _MLFLOW_STATUS[status]
    if there.info.status == word:
        return
    if status == "running":
        client.update_run(there.info.run_id, status=word)
    else:
        client.set_terminated(there.info.run_id, word)


@contextlib.contextmanager
def failures_explained(uri: str) -> Iterator[None]:
    """A block in which whatever fails of MLflow is a UserError in one line, without the password of the address."""
    settle_mlflow()
    from mlflow.exceptions import MlflowException
    from mlflow.store.db import utils as database

    database_error: type[Exception] = database.sqlalchemy.exc.SQLAlchemyError  # type: ignore[attr-defined]
    try:
        yield
    except (MlflowException, database_error, sqlite3.Error, OSError, json.JSONDecodeError) as problem:
        reason = " ".join(str(problem).replace(uri, public_uri(uri)).split())
        shortened = reason if len(reason) <= 200 else f"{reason[:200]}..."
        raise UserError(f"MLflow at {public_uri(uri)} cannot be used: {shortened}") from problem


def _ensure_database(database: Path) -> None:
    """Makes the database under another name and renames it: a killed maker leaves none that is half migrated."""
    with locked(database.with_name(f".{database.name}.lock")):
        if not database.exists() or not database.stat().st_size:
            atomic_write(database, _create_database)
        else:
            _check_version(database)


def _create_database(database: Path) -> None:
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    engine = create_sqlalchemy_engine(f"sqlite:///{database}")
    try:
        _initialize_tables(engine)
    finally:
        engine.dispose()


def _check_version(database: Path) -> None:
    from mlflow.store.db.utils import _get_latest_schema_revision

    with contextlib.closing(sqlite3.connect(database)) as connection:
        try:
            versions = [str(row[0]) for row in connection.execute("SELECT version_num FROM alembic_version")]
        except sqlite3.DatabaseError as problem:
            raise UserError(f"{database} is not an MLflow database: {problem}") from problem
    if versions != [_get_latest_schema_revision()]:
        raise UserError(
            f"{database} is of another MLflow version; "
            f"run `mlflow db upgrade sqlite:///{database}` or choose another address"
        )
