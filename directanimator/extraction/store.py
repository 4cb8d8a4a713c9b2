"""What was once extracted, by content: each entry lies under a key that names all that it was made from.

An entry is a directory of safetensors shards and `entry.json`. It appears whole or not at all, and is never changed, so
several processes may read and write the store at once; of two that make the same entry, the first wins."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from directanimator.atomic import atomic_directory, settle_all, write_json
from directanimator.digests import digest, digest_of_file
from directanimator.errors import UserError

SHARD_FRAMES = 32
"""Frames of a shard: what is held in memory at once."""
DEFAULT_LIMIT_GB = 100.0
DIGITS = 32
_MARKER = "entry.json"

Arrays = Mapping[str, np.ndarray]
Step = Literal["sightings", "gate", "pose", "face", "location"]
T = TypeVar("T")


def key_of(made_from: Mapping[str, object]) -> str:
    """The key of what is made from these values; equal values share it, whatever their order.

    Raises: TypeError or ValueError if a value is none of JSON's."""
    text = json.dumps(made_from, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return digest(text, DIGITS)


@dataclass(frozen=True)
class Codec(Generic[T]):
    """How some frames' items become arrays, and come back."""

    encode: Callable[[Sequence[T]], Arrays]
    decode: Callable[[Arrays], Sequence[T]]


@dataclass(frozen=True)
class Entry:
    """A whole entry of the store."""

    directory: Path
    num_frames: int
    notes: Mapping[str, object]

    def arrays(self) -> Iterator[Arrays]:
        """Its shards, in order.

        Raises: UserError if one is damaged."""
        for shard in sorted(self.directory.glob("*.safetensors")):
            try:
                yield load_file(shard)
            except (OSError, SafetensorError) as error:
                command = f"python -m directanimator.cues --verify cache={self.directory.parent.parent}"
                raise UserError(f"{shard}: damaged; {command} removes what is") from error

    def items(self, codec: Codec[T]) -> Iterator[T]:
        """Its frames' items, in order."""
        for shard in self.arrays():
            yield from codec.decode(shard)


@dataclass(eq=False)
class EntryWriter(Generic[T]):
    """Takes an entry's frames one by one; holds one shard of them."""

    directory: Path
    codec: Codec[T]
    notes: dict[str, object] = field(default_factory=dict)
    num_frames: int = 0
    _waiting: list[T] = field(default_factory=list)

    def append(self, item: T) -> None:
        """Adds the next frame's item."""
        self._waiting.append(item)
        self.num_frames += 1
        if len(self._waiting) == SHARD_FRAMES:
            self._flush()

    def close(self) -> None:
        """Writes what is left, and the marker of a whole entry."""
        if self._waiting:
            self._flush()
        shards = sorted(self.directory.glob("*.safetensors"))
        files = {path.name: [path.stat().st_size, digest_of_file(path)] for path in shards}
        write_json(self.directory / _MARKER, {"num_frames": self.num_frames, "notes": self.notes, "files": files})

    def _flush(self) -> None:
        number = (self.num_frames - 1) // SHARD_FRAMES
        arrays = {name: np.ascontiguousarray(value) for name, value in self.codec.encode(self._waiting).items()}
        save_file(arrays, self.directory / f"{number:06}.safetensors")
        self._waiting.clear()


@dataclass(frozen=True)
class Store:
    """Entries below a directory, at most about `limit_bytes` of them."""

    root: Path
    limit_bytes: int = int(DEFAULT_LIMIT_GB * 1e9)

    def entry(self, step: Step, key: str) -> Entry | None:
        """The entry of a key; None if there is none, or a file of it is missing or has another size."""
        directory = self.root / step / key
        recorded = _read_marker(directory)
        if recorded is None:
            return None
        for name, (size, _) in recorded.files.items():
            path = directory / name
            if not path.is_file() or path.stat().st_size != size:
                return None
        return Entry(directory, recorded.num_frames, recorded.notes)

    @contextmanager
    def writer(self, step: Step, key: str, codec: Codec[T]) -> Iterator[EntryWriter[T]]:
        """A writer of the entry of a key, which is whole after the block, or not there after an exception.

        An entry that another writer has made by then stays, as somebody may be reading it; one that is damaged goes.
        Raises: UserError in one line if the disk is full or the store cannot be written."""
        with atomic_directory(self.root / step / key, lambda: self.entry(step, key) is not None) as draft:
            writer = EntryWriter(draft, codec)
            yield writer
            writer.close()

    def touch(self, entry: Entry) -> None:
        """Marks an entry as used, so that others are evicted before it, if it is still there and may be written."""
        with contextlib.suppress(OSError):
            os.utime(entry.directory / _MARKER)

    def evict(self, kept: Sequence[Entry] = ()) -> list[Path]:
        """Removes the entries that were used least recently until the rest fits; `kept` stays. What was removed."""
        self._tidy()
        spared = {entry.directory for entry in kept}
        found = sorted(filter(None, map(_used, self._directories())))
        excess, removed = sum(size for _, size, _ in found) - self.limit_bytes, []
        for _, size, directory in found:
            if excess <= 0:
                break
            if directory not in spared:
                shutil.rmtree(directory, ignore_errors=True)
                excess -= size
                removed.append(directory)
        return removed

    def verify(self) -> list[Path]:
        """Removes every entry whose bytes are not those that were written. What was removed."""
        self._tidy()
        damaged = [directory for directory in self._directories() if not _is_whole(directory)]
        for directory in damaged:
            shutil.rmtree(directory, ignore_errors=True)
        return damaged

    def _tidy(self) -> None:
        """Nothing; what killed writers left is gone."""
        for step in self.root.glob("*/"):
            settle_all(step)

    def count(self) -> int:
        """Number of entries."""
        return len(self._directories())

    def _directories(self) -> list[Path]:
        return sorted(path.parent for path in self.root.glob(f"*/*/{_MARKER}") if not path.parent.name.startswith("."))


def _used(directory: Path) -> tuple[float, int, Path] | None:
    """When an entry was last used, and its bytes; None if another process has removed it."""
    try:
        size = sum(path.stat().st_size for path in directory.iterdir())
        return (directory / _MARKER).stat().st_mtime, size, directory
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class _Recorded:
    num_frames: int
    notes: Mapping[str, object]
    files: Mapping[str, tuple[int, str]]


def _read_marker(directory: Path) -> _Recorded | None:
    """What an entry says of itself; None if there is none, or the marker is damaged."""
    try:
        marker = json.loads((directory / _MARKER).read_bytes())
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in marker["files"].items()}
        return _Recorded(int(marker["num_frames"]), dict(marker["notes"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_whole(directory: Path) -> bool:
    recorded = _read_marker(directory)
    if recorded is None:
        return False
    paths = {name: directory / name for name in recorded.files}
    return all(path.is_file() and digest_of_file(path) == recorded.files[name][1] for name, path in paths.items())
