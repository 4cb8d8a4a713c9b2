"""What a run leaves behind: a directory that tells its whole story without any server."""

import collections
import contextlib
import fcntl
import functools
import hashlib
import importlib.metadata
import itertools
import json
import math
import os
import platform
import re
import statistics
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from directanimator.atomic import atomic_write, explained, settle, write_json
from directanimator.errors import UserError
from directanimator.frozen import FrozenSpec

Status = Literal["running", "finished", "interrupted", "failed"]

PREVIEWS = "preview/"
"""How scores of a model that is still being trained begin."""
HELD_OUT_LOSS = "held_out/denoising"
"""Name, in the log of a cross-ID stage, of the denoising loss on held-out clips with fixed noise and timesteps."""

_METRIC_NAME = re.compile(r"(?!.*(^|/)\.{0,2}(/|$))[\w\-./ :]{1,250}", re.ASCII)
_RUN_NAME = re.compile(r"[A-Za-z0-9][\w.,=+-]{0,199}", re.ASCII)
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True)
class MetricRecord:
    """What was measured at one step: seconds since the epoch, and a number per metric name."""

    step: int
    time: float
    values: Mapping[str, float]


def training_seconds(records: Sequence[MetricRecord]) -> float:
    """Steps times the median seconds between two: what training costs, blind to interruptions; 0 for less than two."""
    times = [record.time for record in records]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    return len(records) * statistics.median(gaps) if gaps else 0.0


PEAK_MEMORY = "system/process_peak_memory_megabytes"
"""Name, in the log of what the machine did, of the most that the run's first process held so far."""
_GPU_MEMORY = re.compile(r"system/gpu_\d+_memory_usage_megabytes")


def peak_memory(records: Sequence[MetricRecord]) -> float:
    """The most megabytes that a run held of a GPU, by what its machine's log says; where there is none, that its first
    process held; NaN if nothing tells."""
    values = [item for record in records for item in record.values.items()]
    on_gpus = [value for name, value in values if _GPU_MEMORY.fullmatch(name)]
    return max(on_gpus or [value for name, value in values if name == PEAK_MEMORY], default=math.nan)


@dataclass(frozen=True)
class Place:
    """How far a log was read."""

    offset: int
    """Bytes."""
    line: bytes
    """The last line before it, by which a log is known again: every line bears the time of its writing."""


START = Place(0, b"")


@dataclass(frozen=True)
class MetricsLog:
    """The measurements of a run, one JSON object per line, appended as they happen.

    Numbers come back exactly. NaN and the infinities, which JSON lacks and a diverged run must show, are kept as the
    strings "nan", "inf" and "-inf". A last line without its newline is what a killed writer left: readers skip it,
    the next append or truncation removes it."""

    path: Path

    def append(self, step: int, values: Mapping[str, float]) -> MetricRecord:
        """The record that is now the file's last line, in the kernel's hands: a killed process does not lose it.

        Raises: UserError for a negative step, an illegal metric name, a full disk or a closed target; the file then
        holds what it held before."""
        record = MetricRecord(_checked_step(step), time.time(), {_checked_name(k): float(values[k]) for k in values})
        line = (json.dumps(_to_json(record), allow_nan=False) + "\n").encode()
        with explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _append_whole(self.path, line)
        return record

    def read(self) -> list[MetricRecord]:
        """Every whole record, in the order of writing; empty if there is no file.

        Raises: UserError naming file and line where a line is not a record."""
        return self.read_from(START)[0]

    def read_from(self, place: Place) -> tuple[list[MetricRecord], Place]:
        """The whole records after a place, and the place to read from next time. All records, if the line before that
        place is no longer there, because a resumed run has cut the log meanwhile.

        Raises: UserError naming file and line, counted from that place, where a line is not a record."""
        try:
            with self.path.open("rb") as file:
                file.seek(place.offset - len(place.line))
                content = file.read()
                if not content.startswith(place.line):
                    place = START
                    file.seek(0)
                    content = file.read()
        except FileNotFoundError:
            return [], START
        whole = content[len(place.line) : content.rfind(b"\n") + 1]
        lines = whole.splitlines(keepends=True)
        records = [_parsed(line, self.path, number) for number, line in enumerate(lines, 1)]
        return records, Place(place.offset + len(whole), lines[-1]) if lines else place

    def last_step(self) -> int:
        """The step of the last whole record; 0 if there is none.

        Raises: UserError naming file and line where that is not a record."""
        try:
            with self.path.open("rb") as file:
                ending = collections.deque(enumerate(file, 1), maxlen=2)
        except FileNotFoundError:
            return 0
        whole = [(number, line) for number, line in ending if line.endswith(b"\n")]
        return _parsed(whole[-1][1], self.path, whole[-1][0]).step if whole else 0

    def truncate_after(self, step: int) -> None:
        """Nothing; afterwards no record of a later step, and no torn last line, is left. The rest is kept bit by bit.

        For going on from a checkpoint: what was measured after it will be measured again."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            whole = [line for line in file if line.endswith(b"\n")]
        kept = [line for number, line in enumerate(whole, 1) if _parsed(line, self.path, number).step <= step]
        atomic_write(self.path, b"".join(kept))


class MirrorState(FrozenSpec):
    """Where a tracking server keeps its copy of a run."""

    run_id: str
    model_id: str | None = None
    model_digest: str | None = None
    """Of the model directory that `model_id` holds whole; None while it is being sent."""


VARIANT_TAG = "variant"
"""The tag of what was trained, but for its seed."""
COMPUTED_IN_TAG = "computed_in"
"""In what precision a run is computed, and on how many threads."""
TITLE_TAG = "title"
"""The tag under which people find the run in a list."""

PRUNED_TAG = "pruned"
"""The tag of when a sweep gave the run up."""
_RESUMED = "; gone on with later, to the end"
_THEN = ", then "
EDITED = "was edited after it finished"
SEAL_TAG = "seal"
"""The tag that holds a digest of what a finished run says."""


class Record(FrozenSpec):
    """What is known of a run beside its spec and its measurements."""

    id: str
    """Unique over all machines, so that a copy on a tracking server can be found again."""
    name: str
    experiment: str
    status: Status
    created: float
    """Seconds since the epoch."""
    tags: dict[str, str]
    mirrors: dict[str, MirrorState] = Field(default_factory=dict)
    """By tracking address, without credentials."""


@dataclass(frozen=True)
class RunDirectory:
    """One run on disk: the truth, of which tracking servers hold copies."""

    path: Path

    @classmethod
    def claim(
        cls, runs: Path, name: str, *, spec: Mapping[str, object], tags: Mapping[str, str], experiment: str
    ) -> "RunDirectory":
        """The run `name`: made if it is new, gone on with if it has this very spec. Then "running", unless finished.

        Raises: UserError for an illegal name, a directory that holds a run of another spec, or a closed target."""
        if not _RUN_NAME.fullmatch(name):
            raise UserError(f"run name {name!r} is not legal; use letters, digits and any of . , = + - _")
        run = cls(runs.absolute() / name)
        with locked(run.path / ".claim.lock"):
            run._claim(name, spec, tags, experiment)
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """The run in `path`.

        Raises: UserError if there is none, or its record is damaged."""
        run = cls(path.absolute())
        run.record()
        return run

    @property
    def spec_file(self) -> Path:
        """The resolved spec, JSON."""
        return self.path / "spec.json"

    @property
    def record_file(self) -> Path:
        """Status, tags and mirrors, JSON."""
        return self.path / "record.json"

    @property
    def environment_file(self) -> Path:
        """Python and every installed package with its version, text."""
        return self.path / "environment.txt"

    @property
    def evaluation_file(self) -> Path:
        """What the evaluation found, JSON."""
        return self.path / "evaluation.json"

    @property
    def media(self) -> Path:
        """Videos and images, one directory per step: `media/step_000123/...`."""
        return self.path / "media"

    @property
    def model(self) -> Path:
        """The trained model, a safetensors directory."""
        return self._settled("model")

    @property
    def is_trained(self) -> bool:
        """Whether the last step is done and its model written whole."""
        return (self.model / "spec.json").exists()

    @property
    def checkpoint(self) -> Path:
        """What is needed to go on."""
        return self._settled("checkpoint")

    @property
    def metrics(self) -> MetricsLog:
        """What training measured."""
        return MetricsLog(self.path / "metrics.jsonl")

    @property
    def system(self) -> MetricsLog:
        """What the machine did meanwhile; the step counts samples."""
        return MetricsLog(self.path / "system.jsonl")

    @property
    def status(self) -> Status:
        """How the run stands; a run that was killed hard still says "running"."""
        return self.record().status

    def spec(self) -> dict[str, object]:
        """The spec as JSON objects.

        Raises: UserError if the file is missing or damaged."""
        try:
            found = json.loads(self.spec_file.read_bytes())
        except (OSError, ValueError) as problem:
            raise UserError(f"{self.spec_file} cannot be read: {problem}") from problem
        if not isinstance(found, dict):
            raise UserError(f"{self.spec_file} does not hold a spec")
        return found

    def record(self) -> Record:
        """Status, tags and mirrors, as they stand on disk.

        Raises: UserError if the file is missing or damaged."""
        try:
            return Record.model_validate_json(self.record_file.read_bytes())
        except FileNotFoundError as problem:
            raise UserError(f"{self.path} holds no run: record.json is missing") from problem
        except (OSError, ValidationError) as problem:
            reason = str(problem).splitlines()[0]
            raise UserError(f"{self.record_file} cannot be read: {reason}") from problem

    @property
    def told(self) -> Mapping[str, str]:
        """The tags, for one who only asks what this run could give; empty where no record can be read."""
        try:
            return self.record().tags
        except UserError:
            return {}

    def update(
        self,
        *,
        status: Status | None = None,
        tags: Mapping[str, str] | None = None,
        mirrors: Mapping[str, MirrorState] | None = None,
    ) -> Record:
        """The record after the change; safe beside other threads and processes. Tags and mirrors add to those known."""
        with locked(self.path / ".record.lock"):
            old = self.record()
            new = Record(
                id=old.id,
                name=old.name,
                experiment=old.experiment,
                created=old.created,
                status=status or old.status,
                tags={**old.tags, **(tags or {})},
                mirrors={**old.mirrors, **(mirrors or {})},
            )
            self._write(new)
        return new

    def finish(self) -> Record:
        """The record of the run, finished and sealed: a later edit of its spec, measurements or evaluation shows.

        A run that a sweep had given up says that somebody went on with it."""
        given_up = self.record().tags.get(PRUNED_TAG)
        resumed = {} if given_up is None else {PRUNED_TAG: f"{given_up.removesuffix(_RESUMED)}{_RESUMED}"}
        return self.update(status="finished", tags={SEAL_TAG: self._digest(), **resumed})

    def was_edited(self) -> bool | None:
        """Whether anything that the seal covers has changed since the run finished; None if it has no seal."""
        seal = self.record().tags.get(SEAL_TAG)
        return None if seal is None else seal != self._digest()

    def _digest(self) -> str:
        told = hashlib.sha256()
        for file in (self.spec_file, self.evaluation_file, self.metrics.path):
            told.update(hashlib.sha256(file.read_bytes() if file.exists() else b"").digest())
        return told.hexdigest()[:16]

    @contextlib.contextmanager
    def exclusive(self, *, wait: bool = False) -> Iterator[None]:
        """A block in which no other process can train into this directory; with `wait`, once none does.

        Raises: UserError if another one does, unless `wait`."""
        with locked(self.path / ".run.lock", wait=wait):
            yield

    def _claim(self, name: str, spec: Mapping[str, object], tags: Mapping[str, str], experiment: str) -> None:
        if not self.record_file.exists():
            write_json(self.spec_file, dict(spec))
            atomic_write(self.environment_file, environment().encode())
            self._write(
                Record(
                    id=uuid.uuid4().hex,
                    name=name,
                    experiment=experiment,
                    status="running",
                    created=time.time(),
                    tags=dict(tags),
                )
            )
            return
        if self.spec() != json.loads(json.dumps(dict(spec))):
            raise UserError(f"{self.path} holds a run of another spec; remove it, and it is made anew")
        self.update(status=None if self.status == "finished" else "running", tags=tags)

    def _write(self, record: Record) -> None:
        write_json(self.record_file, record.model_dump(mode="json"))

    def _settled(self, name: str) -> Path:
        settle(self.path / name)
        return self.path / name


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """A block that one process and thread at a time is in; the lock of a killed process is free.

    Raises: UserError if the lock file cannot be made, or if `wait` is false and another one holds it."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise UserError(f"{path.parent} is in use by another process") from problem
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough where a forked worker holds a copy of the file


@functools.cache
def environment() -> str:
    """Python's version, then `name==version` of every installed package, sorted, a line each."""
    packages = {
        (d.metadata["Name"].lower(), d.version) for d in importlib.metadata.distributions() if d.metadata["Name"]
    }
    return "\n".join([f"python=={platform.python_version()}", *(f"{n}=={v}" for n, v in sorted(packages))]) + "\n"


def commit_tags() -> dict[str, str]:
    """`commit` and `dirty` ("true" or "false") of the source tree; both "unknown" outside a git work tree."""
    root = Path(__file__).resolve().parent.parent
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return {"commit": "unknown", "dirty": "unknown"}
    return {"commit": commit, "dirty": "true" if changes else "false"}


def then(before: str | None, now: str) -> str:
    """What a run that went on elsewhere was made by or computed in, in one tag: all of it, in turn."""
    return now if before is None else before if now in each_of(before) else f"{before}{_THEN}{now}"


def each_of(told: str) -> list[str]:
    """All that `then` put into one tag."""
    return told.split(_THEN)


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def _checked_step(step: int) -> int:
    if isinstance(step, bool) or step != int(step) or step < 0:
        raise UserError(f"step {step!r} is not legal; use a whole number from 0")
    return int(step)


def _checked_name(name: str) -> str:
    if not _METRIC_NAME.fullmatch(name):
        raise UserError(
            f"metric name {name!r} is not legal; use letters, digits and any of _ - . / : and space, up to 250"
        )
    return name


def _to_json(record: MetricRecord) -> dict[str, object]:
    values = {name: value if math.isfinite(value) else str(value) for name, value in record.values.items()}
    return {"step": record.step, "time": record.time, "values": values}


def _parsed(line: bytes, path: Path, number: int) -> MetricRecord:
    try:
        found = json.loads(line)
        values = {name: _NON_FINITE[v] if isinstance(v, str) else float(v) for name, v in found["values"].items()}
        return MetricRecord(int(found["step"]), float(found["time"]), values)
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise UserError(f"{path}, line {number}: not a record of measurements") from problem


def _append_whole(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        end = _end_of_whole_lines(descriptor)
        os.ftruncate(descriptor, end)
        _write_at(descriptor, line, end)
    finally:
        os.close(descriptor)


def _write_at(descriptor: int, line: bytes, end: int) -> None:
    written = 0
    try:
        while written < len(line):
            written += os.pwrite(descriptor, line[written:], end + written)
    except OSError:
        os.ftruncate(descriptor, end)
        raise


def _end_of_whole_lines(descriptor: int) -> int:
    end = os.fstat(descriptor).st_size
    while end and os.pread(descriptor, 1, end - 1) != b"\n":
        end -= 1
    return end
