"""The machines of a Ray cluster, and work carried out on them. Ray is imported when it is asked for."""

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from directanimator.cluster.order import Done, Failed, Job, in_order
from directanimator.cluster.share import Share, most_at_once
from directanimator.cluster.worker import Desk, Hand, Seat, carried_out, carried_out_together, meeting_place
from directanimator.errors import UserError

ADDRESS_VARIABLE = "RAY_ADDRESS"
INSTALL = "python -m pip install 'ray>=2,<3'"
RETRIES = 3
"""How often work is begun again whose worker was killed."""
GRACE_S = 10.0
"""How long processes that work together may take to end by themselves once one of them has ended badly."""
LOOPBACK = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
"""The one way to have all of Ray's servers listen on the loopback interface alone, on Linux too; read on import."""
ONE_ATTEMPT = ("RAY_NUM_REDIS_GET_RETRIES", "1")
"""To reach a cluster: one lasts 40 seconds, and Ray would make twenty; read on import."""
OBJECT_STORE_BYTES = 80 * 2**20
"""Of a local instance: next to nothing is sent, since files hold it all."""
LOOK_UP_S = 1.0
PATIENCE_S = 10.0
"""How long a cluster may take to answer at all."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class _Lost:
    """Work whose worker died, and how."""

    how: str

    def for_good(self) -> Failed:
        """What becomes of it when it was begun as often as it may be."""
        return Failed(f"its worker died {RETRIES + 1} times: {self.how}")


@dataclass(eq=False)
class _Attempt(Generic[T]):
    """A piece of work that is being carried out, by one process or by several together."""

    work: T
    number: int = 0
    """How often it was begun."""
    room: Any = None
    """What is kept free for several processes; none for a single one."""
    handles: list[Any] = field(default_factory=list)
    """Of the processes, the first one's first."""
    ended: dict[Any, Any] = field(default_factory=dict)
    """What became of those that have ended, by handle."""

    @property
    def running(self) -> list[Any]:
        """Handles of the others."""
        return [handle for handle in self.handles if handle not in self.ended]


def _go_on() -> None:
    """Never raises."""


@dataclass(frozen=True, eq=False)
class Cluster:
    """The machines of a Ray cluster, for pieces of work that take the same share each."""

    machines: int
    most: int
    """Pieces of work at once."""
    _ray: Any
    _resources: Mapping[str, float]
    """Of one process."""
    _desk: Desk
    _together: int = 1
    """Processes that carry out one piece of work."""

    def __str__(self) -> str:
        """`2 machines, 8 at a time`."""
        return f"{self.machines} machine{'s' * (self.machines != 1)}, {self.most} at a time"

    def carry_out(
        self, do: Callable[[T], R], jobs: Sequence[Job[T]], look_up: Callable[[], None] = _go_on
    ) -> Generator[tuple[Job[T], Done[R] | Failed], None, None]:
        """Every job with what became of it, as they end; any exception is a failure. `do` is a module's function.

        Where several processes work together, each of them does `do`, and the first one's value counts; if one of them
        dies, all begin again. Closing it, or an exception inside it, interrupts what runs as Ctrl-C would, and waits
        until it has ended. `look_up` is called every second and may raise one; a signal's handler must not, while Ray
        waits."""
        attempts, task = set[_Attempt[T]](), self._task()

        def begin(job: Job[T]) -> _Attempt[T]:
            attempt = _Attempt(job.work)
            attempts.add(attempt)
            self._begin(attempt, task, do)
            return attempt

        def next_done(handles: Collection[_Attempt[T]]) -> tuple[_Attempt[T], Done[R] | Failed]:
            while True:
                owners = {handle: attempt for attempt in handles for handle in attempt.running}
                ended = self._wait_for_one(list(owners), look_up)
                attempt = owners[ended]
                self._note(attempt, ended)
                if attempt.running:
                    continue
                outcome = self._verdict(attempt)
                if isinstance(outcome, _Lost) and attempt.number <= RETRIES:
                    self._begin(attempt, task, do)
                    continue
                attempts.remove(attempt)
                return attempt, outcome.for_good() if isinstance(outcome, _Lost) else outcome

        try:
            yield from in_order(jobs, begin, next_done)
        finally:
            self._interrupt(attempts)

    def _task(self) -> Any:
        """What one process does, as Ray wants it: sent to the workers once."""
        if self._together == 1:
            return self._ray.remote(**self._resources, max_retries=0)(carried_out)
        # A process is used once: what torch.distributed leaves in it would be in the way of the next work.
        return self._ray.remote(**self._resources, max_retries=0, max_calls=1)(carried_out_together)

    def _begin(self, attempt: _Attempt[T], task: Any, do: Callable[[T], R]) -> None:
        """Nothing; the work of the attempt begins, anew if it was begun before."""
        attempt.number += 1
        attempt.ended.clear()
        if self._together == 1:
            attempt.handles = [task.remote(self._desk, do, attempt.work)]
            return
        from ray.util import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as At

        bundle = {"CPU": self._resources["num_cpus"], "GPU": self._resources["num_gpus"]}
        attempt.room = placement_group([{k: v for k, v in bundle.items() if v}] * self._together, strategy="PACK")
        meeting = self._ray.remote(num_cpus=0, scheduling_strategy=At(attempt.room, 0))(meeting_place).remote()
        attempt.handles = [
            task.options(scheduling_strategy=At(attempt.room, rank)).remote(
                self._desk, do, attempt.work, Seat(rank, self._together), meeting
            )
            for rank in range(self._together)
        ]

    def _note(self, attempt: _Attempt[T], ended: Any) -> None:
        """Nothing; takes down how a process ended. If that was badly, the others cannot go on, and are ended too."""
        outcome = self._outcome(ended)
        attempt.ended[ended] = outcome
        if attempt.running and not isinstance(outcome, Done):
            handles = attempt.running
            self._ray.wait(handles, num_returns=len(handles), timeout=GRACE_S)
            attempt.ended |= {handle: self._outcome(handle) for handle in self._ended_now(handles)}
            for handle in attempt.running:
                self._ray.cancel(handle, force=True)
                attempt.ended[handle] = outcome
        if attempt.room is not None and not attempt.running:
            self._ray.util.remove_placement_group(attempt.room)
            attempt.room = None

    def _verdict(self, attempt: _Attempt[T]) -> Done[Any] | Failed | _Lost:
        """What became of work whose processes have all ended: a dead one explains what others met with."""
        outcomes = list(attempt.ended.values())
        bad = [outcome for outcome in outcomes if not isinstance(outcome, Done)]
        bad.sort(key=lambda outcome: (isinstance(outcome, Failed), isinstance(outcome, Failed) and outcome.is_defect))
        verdict: Done[Any] | Failed | _Lost = bad[0] if bad else attempt.ended[attempt.handles[0]]
        return verdict

    def spread(
        self, make: Callable[[], Callable[[T], R]], items: Sequence[tuple[str, T]]
    ) -> Generator[tuple[Job[T], Done[R] | Failed], None, None]:
        """Every named item with what became of it, as they end, each given to a worker that is free; every worker makes
        once what it works with.

        Closing it, or an exception inside it, ends the workers."""
        hand = self._ray.remote(**self._resources, max_restarts=-1, max_task_retries=RETRIES)(Hand)
        free = [hand.remote(self._desk, make) for _ in range(min(self.most, len(items)))]
        hands, busy = list(free), dict[Any, Any]()
        waiting = len(items)

        def begin(job: Job[T]) -> Any:
            nonlocal waiting
            waiting -= 1
            worker = free.pop()
            handle = worker.work.remote(job.work)
            busy[handle] = worker
            return handle

        def next_done(handles: Collection[Any]) -> tuple[Any, Done[R] | Failed]:
            handle = self._wait_for_one(list(handles))
            outcome = self._outcome(handle)
            worker = busy.pop(handle)
            if waiting:
                free.append(worker)
            else:  # makes room for one that has an item, and could not begin since others use the cluster too
                self._ray.kill(worker)
            return handle, outcome.for_good() if isinstance(outcome, _Lost) else outcome

        try:
            yield from in_order([Job(name, item) for name, item in items], begin, next_done, most=len(free))
        finally:
            for worker in hands:
                self._ray.kill(worker)

    def _wait_for_one(self, handles: list[Any], look_up: Callable[[], None] = _go_on) -> Any:
        while True:
            look_up()
            ended, _ = self._ray.wait(handles, num_returns=1, timeout=LOOK_UP_S)
            if ended:
                return ended[0]

    def _ended_now(self, handles: list[Any]) -> list[Any]:
        ended, _ = self._ray.wait(handles, num_returns=len(handles), timeout=0)
        return list(ended)

    def _outcome(self, handle: Any) -> Done[Any] | Failed | _Lost:
        try:
            outcome: Done[Any] | Failed = self._ray.get(handle)
        except self._ray.exceptions.RayTaskError as defect:
            print(defect, file=sys.stderr)  # where it came from; it keeps nothing else from being done
            return Failed(f"a defect: {type(defect.cause).__name__}: {defect.cause}", is_defect=True)
        except self._ray.exceptions.RayError as loss:
            told = " ".join(str(loss).split())
            return _Lost(f"{type(loss).__name__}: {told[:200]}")
        return outcome

    def _interrupt(self, attempts: Collection[_Attempt[T]]) -> None:
        handles = [handle for attempt in attempts for handle in attempt.running]
        if not handles:
            return
        # Ray may abort the driver if it cancels what has just ended.
        ended = self._ended_now(handles)
        for handle in handles:
            if handle not in ended:
                self._ray.cancel(handle)
        self._ray.wait(handles, num_returns=len(handles))


@contextlib.contextmanager
def cluster(share: Share, environment: Mapping[str, str]) -> Iterator[Cluster]:
    """The cluster of $RAY_ADDRESS; without it one on this machine, which is heard on the loopback interface alone and
    ends with the block. Workers get the variables of `environment`.

    Raises: UserError if Ray is not installed, the cluster does not answer, or none of its machines has the share."""
    address = os.environ.get(ADDRESS_VARIABLE)
    ray = _connected(address) if address else _local()
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = share.gpus
        if gpus is None:
            gpus = 1.0 if any(node.get("GPU", 0) for node in nodes) else 0.0
        most = most_at_once(nodes, share, gpus)
        desk = Desk(Path.cwd(), dict(environment))
        resources = {"num_cpus": float(share.cpus), "num_gpus": gpus}
        yield Cluster(len(nodes), most, ray, resources, desk, share.together)
    finally:
        ray.shutdown()


def _imported() -> ModuleType:
    try:
        import ray
        import ray.exceptions
        import ray.util
    except ImportError as problem:
        raise UserError(f"engine=ray: Ray is not installed; {INSTALL}") from problem
    return ray


def _local() -> ModuleType:
    os.environ.setdefault(*LOOPBACK)
    ray = _imported()
    try:
        ray.init("local", object_store_memory=OBJECT_STORE_BYTES, include_dashboard=False, **_QUIET)
    except Exception as problem:  # of no narrower class, if its servers are slow to answer
        raise UserError(f"engine=ray: no cluster could be started on this machine: {problem}") from problem
    return ray


_QUIET: Mapping[str, Any] = {"log_to_driver": False, "logging_level": "error"}


def _connected(address: str) -> ModuleType:
    os.environ.setdefault(*ONE_ATTEMPT)
    ray = _imported()
    _check_that_it_answers(address)
    try:
        ray.init(address, **_QUIET)
    except Exception as problem:  # of no narrower class, here too
        raise UserError(f"{ADDRESS_VARIABLE}={address}: {problem}") from problem
    return ray


def _check_that_it_answers(address: str) -> None:
    """Nothing, if somebody listens there. Ray itself would try for a minute, and tell it in a page of text.

    Raises: UserError."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S).close()
    except (OSError, OverflowError) as problem:
        raise UserError(f"{ADDRESS_VARIABLE}={address}: nobody answers there ({problem})") from problem
