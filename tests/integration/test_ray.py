"""Work on a real Ray cluster, for which this machine is enough: what a killed worker leaves, and a signal.

Trainings are played too: a stage is a file that grows by a byte a step, and goes on where it was left."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from directanimator.cluster import ADDRESS_VARIABLE, Failed, Job, Share, cluster
from directanimator.errors import UserError
from directanimator.places import mlruns_root, runs_root
from experiments import placement
from experiments.placement import Order, Piece, make_runs
from experiments.stage import InterruptedTrainingError, stop_requests
from experiments.tables.plan import PlannedRun, stage_name
from tests.experiments.tables.table_runs import plan_of

pytestmark = pytest.mark.slow
DEADLINE_S = 120
STEPS = 6
SHARE = Share("run", cpus=1, gpus=0.0)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a cluster answers that has two CPUs, whatever this machine has."""
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    machines = Cluster(initialize_head=True, head_node_args=head)
    yield machines.address
    machines.shutdown()


@pytest.fixture(autouse=True)
def place(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ADDRESS_VARIABLE, address)
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path))
    return tmp_path


# ---------------------------------------------------------------- played trainings


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def play_stage(name: str) -> None:
    """A training that logs each step, and before its third meets another one that runs meanwhile. The first of all
    students is killed once after it. A `hold` in the directory of runs keeps stages from ending."""
    log = runs_root() / name
    log.parent.mkdir(exist_ok=True)
    with stop_requests() as request:
        for step in range(log.stat().st_size if log.exists() else 0, STEPS):
            with log.open("a") as file:
                file.write(".")
            if step == 2 and name.startswith("cross_id"):
                wait_for(lambda: sum(one.stat().st_size > 2 for one in runs_root().glob("cross_id-*")) > 1)
                _killed_once()
            while (mlruns_root() / "hold").exists() and not request.signal_number:
                time.sleep(0.01)
            if request.signal_number:
                raise InterruptedTrainingError(request.signal_number)


def _killed_once() -> None:
    try:
        (mlruns_root() / "killed").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def play(signed: tuple[Path, Piece]) -> None:
    """In place of `placement.make`, in a worker."""
    sign, piece = signed
    assert sign.exists()
    with (mlruns_root() / f"calls-{piece.part}").open("a") as calls:
        calls.write(f"{os.environ['OMP_NUM_THREADS']}\n")
    try:
        if piece.part != "clips":
            play_stage(stage_name(piece.order.spec, "same_id"))
        if piece.part == "run":
            play_stage(stage_name(piece.order.spec, "cross_id"))
    except InterruptedTrainingError as stop:
        raise SystemExit(stop.exit_status) from stop


def orders_of(runs: tuple[PlannedRun, ...]) -> list[Order]:
    return [Order(f"{run.variant}, seed {run.seed}", run.spec, {"preset": "smoke"}) for run in runs]


def calls(place: Path, part: str) -> int:
    return len((place / f"calls-{part}").read_text().splitlines())


def test_runs_go_side_by_side_and_a_killed_worker_loses_nothing(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(placement, "make", play)
    runs = plan_of("seeds=1").runs
    lines: list[str] = []
    orders = orders_of(runs)
    make_runs(orders, SHARE, lines.append)
    assert (place / "killed").exists()
    logs = {path.name: path.read_text() for path in runs_root().iterdir()}
    assert logs == {run.stage(stage): "." * STEPS for run in runs for stage in ("same_id", "cross_id")}
    assert calls(place, "same_id") == calls(place, "clips") == 1
    assert calls(place, "run") == len(runs) + 1
    assert lines[0] == "Ray cluster of 1 machine, 2 at a time; runs: 4, parts that they share: 2"
    assert [line.partition("]")[0] for line in lines[1:]] == [f"[{number}/6" for number in range(1, 7)]
    assert {line.partition("] ")[2].partition(", made")[0] for line in lines[3:]} == {order.name for order in orders}
    assert not list(place.glob(".ray-*"))


def test_a_signal_stops_all_runs_with_a_checkpoint_and_the_same_call_goes_on(place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(placement, "make", play)
    (place / "killed").touch()
    (place / "hold").touch()
    orders = orders_of(plan_of("seeds=2").runs[::4])  # the same variant twice, which shares nothing but clips

    def strike() -> None:
        wait_for(lambda: len(list(runs_root().glob("same_id-*"))) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=strike).start()
    with pytest.raises(InterruptedTrainingError, match="stopped by SIGTERM; the same command goes on"):
        make_runs(orders, SHARE, lambda _: None)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert [path.read_text() for path in runs_root().iterdir()] == [".", "."]
    (place / "hold").unlink()
    make_runs(orders, SHARE, lambda _: None)
    assert [path.read_text() for path in runs_root().iterdir()] == ["." * STEPS] * 4


def refuse(work: str) -> str:
    if work == "bad":
        raise UserError("it cannot be met")
    if work == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return work


def test_what_fails_is_told_and_the_rest_is_done(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("directanimator.cluster.RETRIES", 1)
    jobs = [Job("bad", "bad"), Job("after bad", "good", ("bad",)), Job("deadly", "deadly"), Job("good", "good")]
    with cluster(SHARE, {}) as machines:
        found = {job.name: outcome for job, outcome in machines.carry_out(refuse, jobs)}
    assert found["bad"] == Failed("it cannot be met")
    assert found["after bad"] == Failed("not begun, since bad failed")
    assert "its worker died 2 times: WorkerCrashedError" in found["deadly"].reason
    assert found["good"].value == "good"


def test_what_no_machine_has_is_refused():
    with pytest.raises(UserError, match=r"cpus_per_run=3 .*no machine.*there are 2 CPUs"), cluster(Share("run", 3), {}):
        pass


def test_a_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(ADDRESS_VARIABLE, "127.0.0.1:9")
    with pytest.raises(UserError, match=r"RAY_ADDRESS=127\.0\.0\.1:9: nobody answers there"), cluster(SHARE, {}):
        pass
