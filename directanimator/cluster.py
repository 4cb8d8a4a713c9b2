"""Work spread over the machines of a Ray cluster: the one module that knows Ray, and imports it when it is asked for.

A killed worker's work is begun again, so it has to be such that going on is the same as starting: found again by what
it is made from. Machines share the files: every path means the same on each of them."""

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Collection, Generator, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from directanimator.errors import UserError, did_you_mean
from directanimator.words import read_words, real, whole

ENGINES = ("local", "ray")
ADDRESS_VARIABLE = "RAY_ADDRESS"
INSTALL = "python -m pip install 'ray>=2,<3'"
RETRIES = 3
"""How often work is begun again whose worker was killed."""
MOST_CPUS, MOST_GPUS = 1024, 64
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
Handle = TypeVar("Handle", bound=Hashable)


# ---------------------------------------------------------------- words


@dataclass(frozen=True)
class Share:
    """What of a machine one unit of work takes."""

    unit: str
    """What the work is called in words: run, video."""
    cpus: int = 1
    gpus: float | None = None
    """Whole ones, or a part of one; None: one if the cluster has any."""


def engine_keys(unit: str) -> tuple[str, ...]:
    """The words that choose an engine and what a unit of work takes."""
    return ("engine", f"cpus_per_{unit}", f"gpus_per_{unit}")


def read_engine(tokens: Sequence[str], unit: str, most_gpus: int = MOST_GPUS) -> tuple[Share | None, list[str]]:
    """What `engine=ray`, `cpus_per_UNIT=N` and `gpus_per_UNIT=X` ask for, None for this process; and the other words.

    Raises: UserError for an unknown engine, an illegal number, or a share of a cluster that is not asked for."""
    keys = engine_keys(unit)
    engine_key, cpus_key, gpus_key = keys
    own = [token for token in tokens if token.partition("=")[0] in keys]
    rest = [token for token in tokens if token.partition("=")[0] not in keys]
    words = read_words(own, keys)
    engine = words.get(engine_key, ENGINES[0])
    if engine not in ENGINES:
        known = ", ".join(ENGINES)
        raise UserError(f"unknown engine {engine!r}: known are {known}{did_you_mean(engine, ENGINES)}")
    if engine == "local":
        for key in sorted(words.keys() - {engine_key}):
            raise UserError(f"{key}={words[key]}: is for engine=ray")
        return None, rest
    cpus = whole(words, cpus_key, 1, 1, MOST_CPUS)
    gpus = real(words, gpus_key, 0.0, 0.0, float(most_gpus)) if gpus_key in words else None
    if gpus is not None and gpus > 1 and not gpus.is_integer():
        raise UserError(f"{gpus_key}={words[gpus_key]}: want a part of one, or whole ones")
    return Share(unit, cpus, gpus), rest


# ---------------------------------------------------------------- what fits


def fitting(node: Mapping[str, float], cpus: int, gpus: float) -> int:
    """How many units of work of that size a machine takes at once; parts of a GPU lie within one."""
    by_cpus = int(node.get("CPU", 0) // cpus)
    if not gpus:
        return by_cpus
    whole_gpus = int(node.get("GPU", 0))
    by_gpus = whole_gpus * int(1 / gpus + 1e-9) if gpus < 1 else int(whole_gpus // gpus)
    return min(by_cpus, by_gpus)


def most_at_once(nodes: Sequence[Mapping[str, float]], share: Share, gpus: float) -> int:
    """How many units of work the machines take at once.

    Raises: UserError if none of them takes one."""
    most = sum(fitting(node, share.cpus, gpus) for node in nodes)
    if not most:
        largest = ", ".join(
            sorted({f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes}, reverse=True)
        )
        raise UserError(
            f"cpus_per_{share.unit}={share.cpus} gpus_per_{share.unit}={gpus:g}: no machine of the cluster has that; "
            f"there are {largest or 'no machines'}"
        )
    return most


# ---------------------------------------------------------------- order


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


# ---------------------------------------------------------------- the cluster


@dataclass(frozen=True)
class _Desk:
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


def _carried_out(desk: _Desk, do: Callable[[T], R], work: T) -> Done[R] | Failed:
    try:
        desk.take()
        return Done(do(work), socket.gethostname())
    except UserError as problem:
        return Failed(str(problem))


class _Hand(Generic[T, R]):
    """A worker that keeps what it has loaded."""

    def __init__(self, desk: _Desk, make: Callable[[], Callable[[T], R]]) -> None:
        self._desk, self._make = desk, make
        self._do: Callable[[T], R] | None = None

    def work(self, item: T) -> Done[R] | Failed:
        """What became of an item."""
        return _carried_out(self._desk, self._made, item)

    def _made(self, item: T) -> R:
        if self._do is None:
            self._do = self._make()
        return self._do(item)


def _go_on() -> None:
    """Never raises."""


@dataclass(frozen=True, eq=False)
class Cluster:
    """The machines of a Ray cluster, for work that takes the same share each."""

    machines: int
    most: int
    """Units of work at once."""
    _ray: Any
    _resources: Mapping[str, float]
    _desk: _Desk

    def __str__(self) -> str:
        """`2 machines, 8 at a time`."""
        return f"{self.machines} machine{'s' * (self.machines != 1)}, {self.most} at a time"

    def carry_out(
        self, do: Callable[[T], R], jobs: Sequence[Job[T]], look_up: Callable[[], None] = _go_on
    ) -> Generator[tuple[Job[T], Done[R] | Failed], None, None]:
        """Every job with what became of it, as they end; any exception is a failure. `do` is a module's function.

        Closing it, or an exception inside it, interrupts what runs as Ctrl-C would, and waits until it has ended.
        `look_up` is called every second and may raise one; a signal's handler must not, while Ray waits."""
        task = self._ray.remote(**self._resources, max_retries=RETRIES)(_carried_out)
        running = set[Any]()

        def begin(job: Job[T]) -> Any:
            handle = task.remote(self._desk, do, job.work)
            running.add(handle)
            return handle

        def next_done(handles: Collection[Any]) -> tuple[Any, Done[R] | Failed]:
            handle, outcome = self._next_done(handles, look_up)
            running.remove(handle)
            return handle, outcome

        try:
            yield from in_order(jobs, begin, next_done)
        finally:
            self._interrupt(running)

    def spread(
        self, make: Callable[[], Callable[[T], R]], items: Sequence[tuple[str, T]]
    ) -> Generator[tuple[Job[T], Done[R] | Failed], None, None]:
        """Every named item with what became of it, as they end, each given to a worker that is free; every worker makes
        once what it works with.

        Closing it, or an exception inside it, ends the workers."""
        hand = self._ray.remote(**self._resources, max_restarts=-1, max_task_retries=RETRIES)(_Hand)
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
            handle, outcome = self._next_done(handles)
            worker = busy.pop(handle)
            if waiting:
                free.append(worker)
            else:  # makes room for one that has an item, and could not begin since others use the cluster too
                self._ray.kill(worker)
            return handle, outcome

        try:
            yield from in_order([Job(name, item) for name, item in items], begin, next_done, most=len(free))
        finally:
            for worker in hands:
                self._ray.kill(worker)

    def _next_done(self, handles: Collection[Any], look_up: Callable[[], None] = _go_on) -> tuple[Any, Any]:
        ended: list[Any] = []
        while not ended:
            look_up()
            ended, _ = self._ray.wait(list(handles), num_returns=1, timeout=LOOK_UP_S)
        (handle,) = ended
        try:
            return handle, self._ray.get(handle)
        except self._ray.exceptions.RayTaskError as defect:
            print(defect, file=sys.stderr)  # where it came from; it keeps nothing else from being done
            return handle, Failed(f"a defect: {type(defect.cause).__name__}: {defect.cause}")
        except self._ray.exceptions.RayError as loss:
            told = " ".join(str(loss).split())
            return handle, Failed(f"its worker died {RETRIES + 1} times: {type(loss).__name__}: {told[:200]}")

    def _interrupt(self, handles: Collection[Any]) -> None:
        if not handles:
            return
        # Ray may abort the driver if it cancels what has just ended.
        _, running = self._ray.wait(list(handles), num_returns=len(handles), timeout=0)
        for handle in running:
            self._ray.cancel(handle)
        self._ray.wait(list(handles), num_returns=len(handles))


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
        desk = _Desk(Path.cwd(), dict(environment))
        yield Cluster(len(nodes), most, ray, {"num_cpus": float(share.cpus), "num_gpus": gpus}, desk)
    finally:
        ray.shutdown()


def _imported() -> ModuleType:
    try:
        import ray
        import ray.exceptions
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
