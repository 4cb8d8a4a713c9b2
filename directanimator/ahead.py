"""Work done ahead of its use: an iterator runs in a thread of its own, a few items before whoever reads it.

Only steps that leave Python's lock (decoding, nets, resizing) gain by it."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

DEPTH = 3
"""Items that wait to be read, at most."""


class _End:
    """What stands behind the last item."""


_END: Final = _End()


def ahead(items: Iterable[T], depth: int = DEPTH) -> Iterator[T]:
    """The items, in order, made in another thread while earlier ones are in use.

    Ends with the exception that ended the items. A generator is closed when its reader stops early."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, iterator, _END) for _ in range(depth))
        try:
            while not isinstance(item := waiting.popleft().result(), _End):
                waiting.append(thread.submit(next, iterator, _END))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
            if isinstance(iterator, Generator):
                iterator.close()
