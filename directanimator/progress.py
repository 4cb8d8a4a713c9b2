"""A progress bar with rate and time left for long work; silent when nobody watches."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], label: str, total: int, done: int = 0) -> Iterator[T]:
    """The items, with a bar on stderr when it is a terminal. `done` of `total` were finished in an earlier call."""
    yield from tqdm(items, desc=label, total=total, initial=done, disable=not sys.stderr.isatty(), leave=False)
