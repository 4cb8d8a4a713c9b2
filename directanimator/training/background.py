"""Writing beside the training: one thing at a time, in a thread of its own."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType


class BackgroundWriter:
    """Writes what it is given while the caller goes on. As a context it ends when all is written, whatever happened.

    What went wrong is told to the next caller, or at the end: nobody goes on for long believing that it was written."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._under_way: Future[None] | None = None

    def start(self, write: Callable[[], None]) -> None:
        """Nothing; begins a writing when the one before is done.

        Raises: whatever the one before raised; then this one is not begun."""
        self.wait()
        self._under_way = self._thread.submit(write)

    def wait(self) -> None:
        """Nothing; what was begun is done afterwards.

        Raises: whatever it raised, once."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def __enter__(self) -> "BackgroundWriter":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        self.wait()
