"""Where runs are shown: an address of MLflow, and where the files beside it go."""

import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from directanimator.places import mlruns_root

EXPERIMENT = "directanimator"
"""MLflow's name for all runs together."""


def default_uri() -> str:
    """The tracking address: $MLFLOW_TRACKING_URI, else the project's own database, wherever the process was started."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{mlruns_root() / 'mlflow.db'}"


def artifact_root(uri: str) -> str | None:
    """Where artifacts of the tracking address `uri` go: beside its SQLite file, or None where a server decides."""
    database = sqlite_file(uri)
    if database is not None:
        return str(database.parent / "artifacts")
    return None if uri.startswith(("http://", "https://")) else str(mlruns_root() / "artifacts")


def public_uri(uri: str) -> str:
    """The address without user name and password, fit for logs and records."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def sqlite_file(uri: str) -> Path | None:
    """The database file of an address that is one."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None
