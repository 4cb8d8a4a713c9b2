"""The copy of one run on an MLflow server, made whole from the record at any time."""

import contextlib
import hashlib
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from experiments.record import START, TITLE_TAG, MetricRecord, MetricsLog, MirrorState, Place, RunDirectory, locked
from experiments.tracking.address import artifact_root, public_uri
from experiments.tracking.server import connected_client, experiment_id, failures_explained, set_status

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

T = TypeVar("T")

RECORD_TAG = "record_id"
"""Tag by which the copy of a run is found again."""
_METRICS_A_CALL = 1000
_PARAMS_A_CALL = 100
_LONGEST_PARAM = 6000


def sync(run_directory: Path, uri: str) -> str:
    """The MLflow run id of the copy, which now equals the record; doing it again changes nothing.

    MLflow cannot forget: what it was told of steps that a resumed run then measured anew stays beside the new values.
    Raises: UserError in one line if there is no run, or MLflow cannot be used."""
    return Mirror(RunDirectory.open(run_directory), uri).complete()


def flattened(spec: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Dotted path -> leaf for everything in nested mappings; an empty mapping is a leaf."""
    leaves: dict[str, object] = {}
    for name, value in spec.items():
        path = f"{prefix}{name}"
        leaves |= flattened(value, f"{path}.") if isinstance(value, Mapping) and value else {path: value}
    return leaves


class Mirror:
    """One run's copy at one address. Every push may be repeated, or cut off at any point and repeated."""

    def __init__(self, run: RunDirectory, uri: str) -> None:
        self._run = run
        self._uri = uri
        self._client: MlflowClient | None = None
        self._state = MirrorState(run_id="")
        self._experiment_id = ""
        self._read: dict[Path, Place] = {}
        self._known_points: dict[str, set[tuple[int, float | None]]] = {}
        self._known_files: dict[str, tuple[int, int | None]] = {}
        """Bytes, and nanoseconds of the last change, of what the server has; of what it had before, the bytes alone."""

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
            for file in _reports(self._run.media):
                self._known_files.pop(self._name(file), None)  # the verdict may be another one of as many letters
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
        with locked(self._run.path / ".mirror.lock"), failures_explained(self._uri):
            yield

    def _connected(self) -> "MlflowClient":
        if self._client is None:
            client = connected_client(self._uri)
            record = self._run.record()
            self._experiment_id = experiment_id(client, record.experiment, artifact_root(self._uri))
            self._state = self._found(client) or self._created(client)
            self._remember()
            self._known_files = {name: (size, None) for name, size in _artifacts(client, self._state.run_id)}
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
        set_status(client, there, record.status)

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
        name, now = self._name(file), file.stat()
        stamp = (now.st_size, now.st_mtime_ns)
        if self._known_files.get(name) not in (stamp, (now.st_size, None)):
            folder = name.rpartition("/")[0]
            client.log_artifact(self._state.run_id, str(file), folder or None)
        self._known_files[name] = stamp

    def _name(self, file: Path) -> str:
        return file.relative_to(self._run.path).as_posix()

    def _push_model(self, client: "MlflowClient") -> None:
        from mlflow.entities import LoggedModelOutput

        model = self._run.model
        digest = files_digest(model)
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
        numbers = evaluation_numbers(json.loads(file.read_bytes()))
        when, step = _milliseconds(file.stat().st_mtime), self._last_step()
        points = [Metric(_legal(k), float(v), when, step, model_id=self._state.model_id) for k, v in numbers.items()]
        self._push_points(client, points)

    def _last_step(self) -> int:
        return max((record.step for record in self._run.metrics.read()), default=0)


def evaluation_numbers(evaluation: Mapping[str, object]) -> dict[str, float]:
    """What is drawn of a record's evaluation.json: the numbers of its `summary`, by their path."""
    summary = evaluation.get("summary", {})
    leaves = flattened(summary) if isinstance(summary, Mapping) else {}
    return {path.replace(".", "/"): float(v) for path, v in leaves.items() if isinstance(v, int | float)}


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


def _reports(media: Path) -> list[Path]:
    """Files of no step: a table's, which every call writes anew."""
    return [file for file in _whole_files(media) if file.parent == media]


def files_digest(model: Path) -> str | None:
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
