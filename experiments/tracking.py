"""Copies of runs on an MLflow server: best effort, off the training's path, made whole from the record at any time.

The one module that imports MLflow, and only inside functions: it takes seconds to load."""

import contextlib
import hashlib
import json
import math
import os
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

from directanimator.atomic import atomic_write
from directanimator.errors import UserError
from directanimator.places import mlruns_root
from experiments.record import (
    START,
    TITLE_TAG,
    MetricRecord,
    MetricsLog,
    MirrorState,
    Place,
    RunDirectory,
    Status,
    locked,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor

T = TypeVar("T")

RECORD_TAG = "record_id"
"""Tag by which the copy of a run is found again."""
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
_METRICS_A_CALL = 1000
_PARAMS_A_CALL = 100
_LONGEST_PARAM = 6000


def default_uri() -> str:
    """The tracking address: $MLFLOW_TRACKING_URI, else the project's own database, wherever the process was started."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{mlruns_root() / 'mlflow.db'}"


def artifact_root(uri: str) -> str | None:
    """Where artifacts of the tracking address `uri` go: beside its SQLite file, or None where a server decides."""
    database = _sqlite_file(uri)
    if database is not None:
        return str(database.parent / "artifacts")
    return None if uri.startswith(("http://", "https://")) else str(mlruns_root() / "artifacts")


class Tracker(Protocol):
    """Shows a run to people while it goes on. Never delays or fails the run; the record is the truth."""

    def start(self, run: RunDirectory) -> None:
        """Nothing; from now on what is added to the record is shown."""

    def finish(self) -> None:
        """Nothing; everything in the record, its status included, is shown, or a line on stderr says that it is not."""


class NullTracker:
    """Shows nothing: for ranks above 0, and for runs without tracking."""

    def start(self, run: RunDirectory) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""


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
        mirror = _Mirror(run, self._uri)
        machine = _Machine(run.system)
        stopping = False
        while not stopping:
            self._attempt(machine.sample)
            if time.monotonic() >= self._not_before:
                self._attempt(mirror.push)
            stopping = self._stop.wait(self._every)
        self._attempt(mirror.complete)

    def _attempt(self, act: Callable[[], object]) -> None:
        try:
            act()
        except UserError as problem:
            self._not_before = time.monotonic() + self._retry
            self._warn(str(problem))

    def _warn(self, problem: str) -> None:
        if not self._warned:
            sys.stderr.write(f"warning: {problem}; the run goes on, and its record can be synced later\n")
        self._warned = True


def sync(run_directory: Path, uri: str) -> str:
    """The MLflow run id of the copy, which now equals the record; doing it again changes nothing.

    MLflow cannot forget: what it was told of steps that a resumed run then measured anew stays beside the new values.
    Raises: UserError in one line if there is no run, or MLflow cannot be used."""
    return _Mirror(RunDirectory.open(run_directory), uri).complete()


def prepare(uri: str) -> str:
    """The address made absolute; a SQLite database is there and of this MLflow's version afterwards.

    Raises: UserError in one line if that cannot be."""
    with _failures_explained(uri):
        database = _sqlite_file(uri)
        if database is None:
            return uri
        _ensure_database(database)
        return f"sqlite:///{database}"


def public_uri(uri: str) -> str:
    """The address without user name and password, fit for logs and records."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def flattened(spec: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Dotted path -> leaf for everything in nested mappings; an empty mapping is a leaf."""
    leaves: dict[str, object] = {}
    for name, value in spec.items():
        path = f"{prefix}{name}"
        leaves |= flattened(value, f"{path}.") if isinstance(value, Mapping) and value else {path: value}
    return leaves


class _Machine:
    """Appends how busy this machine is, under MLflow's own names, so that its UI knows them."""

    def __init__(self, log: MetricsLog) -> None:
        self._log = log
        self._monitors: list[BaseMetricsMonitor] = []
        self._next_step = 0

    def sample(self) -> None:
        """Nothing; afterwards the log has one more record.

        Raises: UserError if the log cannot be written."""
        if not self._monitors:
            self._monitors = _monitors()
            self._next_step = max((record.step for record in self._log.read()), default=-1) + 1
        values: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            values |= {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        self._log.append(self._next_step, values)
        self._next_step += 1


class _Mirror:
    """One run's copy at one address. Every push may be repeated, or cut off at any point and repeated."""

    def __init__(self, run: RunDirectory, uri: str) -> None:
        self._run = run
        self._uri = uri
        self._client: MlflowClient | None = None
        self._state = MirrorState(run_id="")
        self._experiment_id = ""
        self._read: dict[Path, Place] = {}
        self._known_points: dict[str, set[tuple[int, float | None]]] = {}
        self._known_files: dict[str, int] = {}

    def push(self) -> None:
        """Nothing; afterwards MLflow has the measurements and media of now.

        Raises: UserError in one line if MLflow cannot be used."""
        with self._one_at_a_time():
            self._push(self._connected())

    def complete(self) -> str:
        """The MLflow run id; afterwards MLflow has everything, the model and the status included.

        Raises: UserError in one line if MLflow cannot be used."""
        with self._one_at_a_time():
            client = self._connected()
            self._push(client)
            self._push_model(client)
            self._push_evaluation(client)
            for file in (self._run.evaluation_file, self._run.metrics.path):
                if file.exists():
                    client.log_artifact(self._state.run_id, str(file))
            self._push_description(client)
        return self._state.run_id

    @contextlib.contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        with locked(self._run.path / ".mirror.lock"), _failures_explained(self._uri):
            yield

    def _connected(self) -> "MlflowClient":
        if self._client is None:
            client = _client(self._uri)
            record = self._run.record()
            self._experiment_id = _experiment_id(client, record.experiment, artifact_root(self._uri))
            self._state = self._found(client) or self._created(client)
            self._remember()
            self._known_files = dict(_artifacts(client, self._state.run_id))
            self._push_description(client)
            self._client = client
        return self._client

    def _found(self, client: "MlflowClient") -> MirrorState | None:
        record = self._run.record()
        runs = client.search_runs([self._experiment_id], f"tags.{RECORD_TAG} = '{record.id}'", max_results=1)
        if not runs:
            return None
        known = record.mirrors.get(public_uri(self._uri))
        run_id = str(runs[0].info.run_id)
        return known if known is not None and known.run_id == run_id else MirrorState(run_id=run_id)

    def _created(self, client: "MlflowClient") -> MirrorState:
        record = self._run.record()
        run = client.create_run(
            self._experiment_id,
            start_time=_milliseconds(record.created),
            tags={RECORD_TAG: record.id},
            run_name=record.tags.get(TITLE_TAG, record.name),
        )
        return MirrorState(run_id=run.info.run_id)

    def _remember(self) -> None:
        self._run.update(mirrors={public_uri(self._uri): self._state})

    def _push_description(self, client: "MlflowClient") -> None:
        from mlflow.entities import Param, RunTag

        run_id = self._state.run_id
        there = client.get_run(run_id)
        record = self._run.record()
        params = {_legal(k): str(v)[:_LONGEST_PARAM] for k, v in flattened(self._run.spec()).items()}
        missing = [Param(k, v) for k, v in params.items() if k not in there.data.params]
        for some in _sliced(missing, _PARAMS_A_CALL):
            client.log_batch(run_id, params=some)
        tags = [RunTag(_legal(k), v) for k, v in record.tags.items() if there.data.tags.get(_legal(k)) != v]
        for some_tags in _sliced(tags, _PARAMS_A_CALL):
            client.log_batch(run_id, tags=some_tags)
        if there.info.status != _MLFLOW_STATUS[record.status]:
            _set_status(client, run_id, record.status)

    def _push(self, client: "MlflowClient") -> None:
        for log in (self._run.metrics, self._run.system):
            self._push_measurements(client, log)
        for file in (self._run.spec_file, self._run.environment_file, *_whole_files(self._run.media)):
            self._push_file(client, file)

    def _push_measurements(self, client: "MlflowClient", log: MetricsLog) -> None:
        records, place = log.read_from(self._read.get(log.path, START))
        self._push_points(client, [point for record in records for point in _points(record)])
        self._read[log.path] = place

    def _push_points(self, client: "MlflowClient", points: "Sequence[Metric]") -> None:
        missing = [point for point in points if _identity(point) not in self._points_there(client, point.key)]
        for some in _sliced(missing, _METRICS_A_CALL):
            client.log_batch(self._state.run_id, metrics=some)
        for point in missing:
            self._known_points[point.key].add(_identity(point))

    def _points_there(self, client: "MlflowClient", name: str) -> set[tuple[int, float | None]]:
        """What MLflow has of a metric. A resumed run measures anew what came after its checkpoint, at another time:
        by step and value those points are the same, and are not sent again."""
        if name not in self._known_points:
            history = client.get_metric_history(self._state.run_id, name)
            self._known_points[name] = {_identity(point) for point in history}
        return self._known_points[name]

    def _push_file(self, client: "MlflowClient", file: Path) -> None:
        name = file.relative_to(self._run.path).as_posix()
        size = file.stat().st_size
        if self._known_files.get(name) != size:
            folder = name.rpartition("/")[0]
            client.log_artifact(self._state.run_id, str(file), folder or None)
            self._known_files[name] = size

    def _push_model(self, client: "MlflowClient") -> None:
        from mlflow.entities import LoggedModelOutput

        model = self._run.model
        digest = _digest(model)
        if digest is None or digest == self._state.model_digest:
            return
        if self._state.model_id is None or self._state.model_digest is not None:
            self._create_model(client)
        model_id = str(self._state.model_id)
        client.log_model_artifacts(model_id, str(model))
        client.finalize_logged_model(model_id, "READY")
        client.log_outputs(self._state.run_id, [LoggedModelOutput(model_id, self._last_step())])
        self._state = MirrorState(run_id=self._state.run_id, model_id=model_id, model_digest=digest)
        self._remember()

    def _create_model(self, client: "MlflowClient") -> None:
        record = self._run.record()
        model = client.create_logged_model(
            self._experiment_id,
            name=_legal_model_name(record.name),
            source_run_id=self._state.run_id,
            tags=record.tags,
            model_type="directanimator",
        )
        self._state = MirrorState(run_id=self._state.run_id, model_id=model.model_id)
        self._remember()

    def _push_evaluation(self, client: "MlflowClient") -> None:
        from mlflow.entities import Metric

        file = self._run.evaluation_file
        if not file.exists():
            return
        means = flattened(json.loads(file.read_bytes()).get("summary", {}))
        numbers = {path.replace(".", "/"): value for path, value in means.items() if isinstance(value, int | float)}
        when, step = _milliseconds(file.stat().st_mtime), self._last_step()
        points = [Metric(_legal(k), float(v), when, step, model_id=self._state.model_id) for k, v in numbers.items()]
        self._push_points(client, points)

    def _last_step(self) -> int:
        return max((record.step for record in self._run.metrics.read()), default=0)


def _client(uri: str) -> "MlflowClient":
    _settle_mlflow()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=prepare(uri))


def _settle_mlflow() -> None:
    """Settings that MLflow reads when it is imported: no long waits, no chatter, no reports to its makers."""
    for name, value in _MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)


def _experiment_id(client: "MlflowClient", name: str, artifacts: str | None) -> str:
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


def _set_status(client: "MlflowClient", run_id: str, status: Status) -> None:
    if status == "running":
        client.update_run(run_id, status="RUNNING")
    else:
        client.set_terminated(run_id, _MLFLOW_STATUS[status])


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


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


@contextlib.contextmanager
def _failures_explained(uri: str) -> Iterator[None]:
    _settle_mlflow()
    from mlflow.exceptions import MlflowException
    from mlflow.store.db import utils as database

    database_error: type[Exception] = database.sqlalchemy.exc.SQLAlchemyError  # type: ignore[attr-defined]
    try:
        yield
    except (MlflowException, database_error, sqlite3.Error, OSError, json.JSONDecodeError) as problem:
        reason = " ".join(str(problem).replace(uri, public_uri(uri)).split())
        shortened = reason if len(reason) <= 200 else f"{reason[:200]}..."
        raise UserError(f"MLflow at {public_uri(uri)} cannot be used: {shortened}") from problem


def _monitors() -> "list[BaseMetricsMonitor]":
    _settle_mlflow()
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    monitors: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor()]
    with contextlib.suppress(ImportError, RuntimeError):  # no NVIDIA library, or no GPU
        monitors.append(GPUMonitor())
    return monitors


def _points(record: MetricRecord) -> "list[Metric]":
    from mlflow.entities import Metric

    return [Metric(name, value, _milliseconds(record.time), record.step) for name, value in record.values.items()]


def _identity(point: "Metric") -> tuple[int, float | None]:
    """Step and value as MLflow keeps them: NaN equals NaN, infinity is the largest float."""
    if math.isnan(point.value):
        return point.step, None
    return point.step, max(-sys.float_info.max, min(sys.float_info.max, point.value))


def _artifacts(client: "MlflowClient", run_id: str, folder: str | None = None) -> Iterator[tuple[str, int]]:
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            yield from _artifacts(client, run_id, entry.path)
        else:
            yield entry.path, entry.file_size or 0


def _whole_files(folder: Path) -> list[Path]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return sorted(file for file in files if not any(p.startswith(".") for p in file.relative_to(folder).parts))


def _digest(model: Path) -> str | None:
    """Of names, sizes and times, not of gigabytes of weights; None if there is no model."""
    lines = [f"{f.relative_to(model)} {f.stat().st_size} {f.stat().st_mtime_ns}" for f in _whole_files(model)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else None


def _legal(name: str) -> str:
    return re.sub(r"[^\w\-./ :]", "_", name, flags=re.ASCII)[:250]


def _legal_model_name(name: str) -> str:
    return re.sub(r"[^\w-]", "_", name, flags=re.ASCII)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _sliced(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
