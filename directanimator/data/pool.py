"""Arrays of many items on disk, filled once by several processes and read item by item afterwards.

One file per field, `<name>.npy`, all items stacked on the first axis. A pool that is whole carries `pool.json`; one
that is not is thrown away and made again."""

import json
import multiprocessing
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from directanimator.atomic import atomic_directory, write_json
from directanimator.progress import progress

Item = Mapping[str, np.ndarray]
_CHUNK = 16
_MARKER = "pool.json"


@runtime_checkable
class Rows(Protocol):
    """A field of many items, the first axis counting them: an array, or a file that is read at every look."""

    def __len__(self) -> int:
        """How many items there are."""

    def __getitem__(self, index: Any, /) -> Any:
        """The values of an item, or stacked, of a list or range of items."""


class StoredRows:
    """Rows of an `.npy` file, of which nothing stays in memory.

    No memory map: each fault of one reads as much ahead as the disk is set to, 8 MB on some machines for the 50 kB of a
    clip, and what was ever read counts as the process's own."""

    def __init__(self, path: Path) -> None:
        mapped = np.load(path, mmap_mode="r")
        self._count, *item_shape = mapped.shape
        self._item_shape, self._dtype, self._offset = tuple(item_shape), mapped.dtype, int(mapped.offset)
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # read what is asked for, and no more

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int | Sequence[int], /) -> np.ndarray:
        if isinstance(index, Sequence):
            return np.stack([self._read(item) for item in index])
        return self._read(index)

    def _read(self, index: int) -> np.ndarray:
        row = np.empty(self._item_shape, self._dtype)
        start = self._offset + range(self._count)[index] * row.nbytes
        if os.preadv(self._descriptor, [row.reshape(-1).view(np.uint8).data], start) != row.nbytes:
            raise OSError(f"a prepared clip could not be read whole: item {index} of {self._count}")
        return row


def chunks(count: int, stride: int = 1) -> list[range]:
    """The indices below `count` in parts of a few, each for one worker: none holds two that are unequal modulo
    `stride`."""
    runs = (range(start, count, stride) for start in range(min(stride, count)))
    return [run[first : first + _CHUNK] for run in runs for first in range(0, len(run), _CHUNK)]


def _fill(make: Callable[[int], Item], directory: Path, indices: range) -> int:
    fields: dict[str, np.ndarray] = {}
    for index in indices:
        for name, value in make(index).items():
            if name not in fields:
                fields[name] = np.load(directory / f"{name}.npy", mmap_mode="r+")
            fields[name][index] = value
    return len(indices)


def _allocate(item: Item, directory: Path, count: int) -> None:
    for name, value in item.items():
        np.lib.format.open_memmap(directory / f"{name}.npy", mode="w+", dtype=value.dtype, shape=(count, *value.shape))


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def build_pool(
    directory: Path,
    count: int,
    make: Callable[[int], Item],
    label: str,
    workers: int | None = None,
    stride: int = 1,
) -> None:
    """Nothing; fills `directory` with `make(0)` ... `make(count - 1)` unless it is whole already.

    There are so many workers, by default one for every core. Items that are `stride` apart share what is slow to read:
    one worker makes them in a row.
    `make` is called in fresh processes, so it must be picklable (a `functools.partial` of a module's function)."""
    if (directory / _MARKER).exists():
        return
    context = multiprocessing.get_context("spawn")
    with atomic_directory(directory) as unfinished:
        with ProcessPoolExecutor(workers or cores(), mp_context=context) as executor:
            _allocate(executor.submit(make, 0).result(), unfinished, count)
            futures = [executor.submit(_fill, make, unfinished, chunk) for chunk in chunks(count, stride)]
            try:
                for future in progress(futures, label, total=len(futures)):
                    future.result()
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)  # or the error would be told after all the rest
                raise
        write_json(unfinished / _MARKER, {"count": count})


def zero_pool(directory: Path, count: int, like: Item) -> None:
    """Nothing; makes a whole pool of `count` items of zeros, each shaped like the given one.

    Its files are holes: whatever the count, they take no room on disk. For measuring what many items cost."""
    with atomic_directory(directory) as unfinished:
        _allocate(like, unfinished, count)
        write_json(unfinished / _MARKER, {"count": count})


def open_pool(directory: Path) -> dict[str, Rows]:
    """A pool's fields by name, for reading a few items at a time.

    Raises: FileNotFoundError when the pool is not whole."""
    json.loads((directory / _MARKER).read_text())
    return {path.stem: StoredRows(path) for path in sorted(directory.glob("*.npy"))}
