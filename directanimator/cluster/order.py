"""Pieces of work, some of which need others done before."""

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Handle = TypeVar("Handle", bound=Hashable)


@dataclass(frozen=True)
class Job(Generic[T]):
    """A piece of work, and the names of those that it needs done."""

    name: str
    work: T
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Done(Generic[R]):
    """Work that was done."""

    value: R
    host: str


@dataclass(frozen=True)
class Failed:
    """Work that could not be done, and why."""

    reason: str
    is_defect: bool = field(default=False, compare=False)
    """Whether an exception was the reason that nobody foresaw."""


def in_order(
    jobs: Sequence[Job[T]],
    begin: Callable[[Job[T]], Handle],
    next_done: Callable[[Collection[Handle]], tuple[Handle, Done[R] | Failed]],
    most: int | None = None,
) -> Iterator[tuple[Job[T], Done[R] | Failed]]:
    """Every job with what became of it, as they end. None begins before those that it needs are done; one that needs
    a failed one never does. Not more than `most` are begun and not ended, if it is given."""
    waiting, running = list(jobs), dict[Handle, Job[T]]()
    done: set[str] = set()
    failed: dict[str, str] = {}
    while waiting or running:
        able = [job for job in waiting if done.issuperset(job.after)]
        for job in able if most is None else able[: most - len(running)]:
            waiting.remove(job)
            running[begin(job)] = job
        if running:
            handle, outcome = next_done(list(running))
            job = running.pop(handle)
        else:
            job = next(job for job in waiting if failed.keys() & set(job.after))
            waiting.remove(job)
            needed = next(name for name in job.after if name in failed)
            outcome = Failed(f"not begun, since {needed} failed")
        if isinstance(outcome, Failed):
            failed[job.name] = outcome.reason
        else:
            done.add(job.name)
        yield job, outcome
