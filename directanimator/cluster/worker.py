"""What a worker does, on whatever machine it is: takes the driver's place, meets those it works with, does the work."""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from directanimator.cluster.order import Done, Failed
from directanimator.errors import UserError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Desk:
    """Where work is done: each worker takes the driver's place before it begins."""

    directory: Path
    environment: Mapping[str, str]

    def take(self) -> None:
        """Nothing; the working directory and the variables are the driver's.

        Raises: UserError if this machine does not see the directory."""
        try:
            os.chdir(self.directory)
        except OSError as problem:
            here = f"{socket.gethostname()} does not see {self.directory}"
            raise UserError(f"{here}: all machines must share the files") from problem
        os.environ.update(self.environment)


def carried_out(desk: Desk, do: Callable[[T], R], work: T) -> Done[R] | Failed:
    """What became of the work; a UserError is a failure, any other exception is raised."""
    try:
        desk.take()
        return Done(do(work), socket.gethostname())
    except UserError as problem:
        return Failed(str(problem))


@dataclass(frozen=True)
class Seat:
    """A process's place among those that carry out one piece of work together, as torch.distributed reads it."""

    rank: int
    together: int

    def variables(self, meeting: tuple[str, int]) -> dict[str, str]:
        """What a launcher such as torchrun would set. Each process sees its own devices alone, as the first ones."""
        host, port = meeting
        seat = {"RANK": self.rank, "WORLD_SIZE": self.together, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
        return {name: str(value) for name, value in seat.items()} | {"MASTER_ADDR": host, "MASTER_PORT": str(port)}


def meeting_place() -> tuple[str, int]:
    """An address of this machine that other machines reach, and a port that nobody uses."""
    import ray.util

    host = ray.util.get_node_ip_address()
    with socket.create_server((host, 0)) as server:
        return host, server.getsockname()[1]


def carried_out_together(
    desk: Desk, do: Callable[[T], R], work: T, seat: Seat, meeting: tuple[str, int]
) -> Done[R] | Failed:
    """What became of the part of one of several processes, which torch.distributed lets meet."""
    os.environ.update(seat.variables(meeting))
    return carried_out(desk, do, work)


class Hand(Generic[T, R]):
    """A worker that keeps what it has loaded."""

    def __init__(self, desk: Desk, make: Callable[[], Callable[[T], R]]) -> None:
        self._desk, self._make = desk, make
        self._do: Callable[[T], R] | None = None

    def work(self, item: T) -> Done[R] | Failed:
        """What became of an item."""
        return carried_out(self._desk, self._made, item)

    def _made(self, item: T) -> R:
        if self._do is None:
            self._do = self._make()
        return self._do(item)
