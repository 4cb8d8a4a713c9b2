"""Files and directories that are either whole or absent, whatever kills the writer."""

import contextlib
import errno
import itertools
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors import SafetensorError

from directanimator.errors import UserError

_TARGET_REFUSES = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENAMETOOLONG,
    }
)
_LIFE = secrets.token_hex(4)
"""Tells this process from an earlier one with the same number, which in a container is the usual case."""
_COUNT = itertools.count()


def atomic_write(path: Path, content: bytes | Callable[[Path], object]) -> None:
    """Nothing; afterwards `path` holds all of `content`, or on any exception what it held before.

    A callable gets the path to write to: another directory, but the same file name, so that writers which look at the
    suffix agree. A symbolic link is followed. The parent directory is made.
    Raises: UserError in one line if the disk is full or the target cannot be written."""
    target = Path(os.path.realpath(path))
    with _refusals_explained(path), workplace(target) as place:
        draft = place / target.name
        if callable(content):
            content(draft)
        else:
            draft.write_bytes(content)
        _fsync(draft)
        os.replace(draft, target)
        _fsync(target.parent)


@contextlib.contextmanager
def atomic_directory(path: Path, is_kept: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """An empty directory to fill; it becomes `path`, in place of an older one, when the block ends without exception.

    Where `is_kept` then says that the older one is to stay, what was filled is dropped instead. It is asked last, so
    one that another writer has made meanwhile can stay, too.
    Replacing takes two renames. A writer killed between them leaves the older directory aside under another name:
    `settle` puts it back, so whoever reads such a directory after a crash calls that first.
    Raises: UserError in one line if the disk is full or the target cannot be written."""
    target = Path(os.path.realpath(path))
    with _refusals_explained(path), workplace(target) as place:
        draft = place / target.name
        draft.mkdir()
        yield draft
        for entry in draft.rglob("*"):
            _fsync(entry)
        _fsync(draft)
        while not _is_moved(draft, target):
            if is_kept():
                return
            shutil.rmtree(place / "old", ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):  # another writer has just moved it aside
                os.replace(target, place / "old")
        _fsync(target.parent)


def _is_moved(draft: Path, target: Path) -> bool:
    """Whether the draft has become the target; not where a directory with files is there already."""
    try:
        os.replace(draft, target)
    except OSError as problem:
        if problem.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def settle(path: Path) -> None:
    """Nothing; afterwards no killed writer's leftover lies beside `path`, and a directory it moved aside is back."""
    target = Path(os.path.realpath(path))
    for leftover in target.parent.glob(f".{_glob_escaped(target.name)}.tmp-*"):
        if not _is_abandoned(leftover):
            continue
        if (leftover / "old").is_dir() and not target.exists():
            os.replace(leftover / "old", target)
        shutil.rmtree(leftover, ignore_errors=True)


def settle_all(folder: Path) -> None:
    """Nothing; afterwards no killed writer's leftover lies in the folder, whatever it was to become."""
    for target in {path.name[1:].rpartition(".tmp-")[0] for path in folder.glob(".*.tmp-*")}:
        settle(folder / target)


def write_json(path: Path, obj: object) -> None:
    """Nothing; afterwards `path` holds `obj` as indented JSON with a final newline.

    Raises: UserError if the file cannot be written, or if `obj` holds NaN or an infinity, which JSON cannot say."""
    try:
        text = json.dumps(obj, indent=2, allow_nan=False)
    except ValueError as problem:
        raise UserError(f"cannot write {path}: {problem}") from problem
    atomic_write(path, text.encode() + b"\n")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """A block in which an OSError of a full disk or a closed target becomes a UserError that names `path`.

    Raises: UserError."""
    with _refusals_explained(path):
        yield


@contextlib.contextmanager
def workplace(target: Path) -> Iterator[Path]:
    """A directory beside `target` to work towards it in; gone when the block ends.

    What a killed writer of the same target left is removed first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    settle(target)
    name = f".{target.name}.tmp-{socket.gethostname()}-{os.getpid()}-{_LIFE}{next(_COUNT)}"
    place = target.parent / name
    place.mkdir()
    try:
        yield place
    except BaseException:
        if (place / "old").is_dir() and not target.exists():
            os.replace(place / "old", target)
        raise
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _refusals_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as problem:
        code = _errno_of(problem)
        if code not in _TARGET_REFUSES:
            raise
        raise UserError(f"cannot write {path}: {os.strerror(code)}") from problem


def _errno_of(problem: OSError | SafetensorError) -> int:
    if isinstance(problem, OSError):
        return problem.errno or 0
    found = re.search(r"os error (\d+)", str(problem))
    return int(found.group(1)) if found else 0


def _is_abandoned(place: Path) -> bool:
    parts = place.name.rpartition(".tmp-")[2].rsplit("-", 2)
    if len(parts) != 3:  # a name that is not ours
        return False
    host, pid, life = parts
    if host != socket.gethostname() or not pid.isdigit():
        return False
    if int(pid) == os.getpid():
        return not life.startswith(_LIFE)
    return not _is_alive(int(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _glob_escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
