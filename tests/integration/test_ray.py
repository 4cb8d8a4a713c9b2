"""Work on a real Ray cluster, for which this machine is enough: what a killed worker leaves, and a signal."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from directanimator.cluster import ADDRESS_VARIABLE, LOOPBACK, Failed, Job, Share, cluster
from directanimator.errors import UserError
from directanimator.extraction.command import main
from directanimator.places import runs_root
from directanimator.video import write_video
from experiments import placement
from experiments.edit import edit
from experiments.placement import Order, make_runs
from experiments.presets import PRESETS
from experiments.record import RunDirectory
from experiments.stage import InterruptedTrainingError
from experiments.tables.plan import PlannedRun
from tests.directanimator.extraction.bright import deadly_watch, walker
from tests.experiments.played_runs import STEPS, play, refuse, wait_for
from tests.experiments.tables.table_runs import plan_of
from tests.meeting import meet

pytestmark = pytest.mark.slow
MEMORY = 80 * 2**20
SHARE = Share("process", cpus=1, gpus=0.0)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a cluster answers that has two CPUs, whatever this machine has."""
    os.environ.setdefault(*LOOPBACK)
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    from ray.cluster_utils import Cluster

    idle = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": MEMORY, **idle})
    yield machines.address
    machines.shutdown()


@pytest.fixture(autouse=True)
def place(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ADDRESS_VARIABLE, address)
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path))
    return tmp_path


def orders_of(runs: tuple[PlannedRun, ...]) -> list[Order]:
    return [Order(f"{run.variant}, seed {run.seed}", run.spec, {"preset": "smoke"}) for run in runs]


def calls(place: Path, part: str) -> int:
    return len((place / f"calls-{part}").read_text())


def test_runs_go_side_by_side_and_a_killed_worker_loses_nothing(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(placement, "make", play)
    runs = plan_of("seeds=1").runs
    lines: list[str] = []
    orders = orders_of(runs)
    monkeypatch.setattr(placement, "TOLD_EVERY_S", 0.1)
    make_runs(orders, SHARE, lines.append, lambda: "much is left")
    assert (place / "killed").exists()
    assert lines.count("much is left") > 1
    lines = [line.removesuffix("; much is left") for line in lines if line != "much is left"]
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
        make_runs(orders, SHARE, lambda _: None, str)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert [path.read_text() for path in runs_root().iterdir()] == [".", "."]
    (place / "hold").unlink()
    make_runs(orders, SHARE, lambda _: None, str)
    assert [path.read_text() for path in runs_root().iterdir()] == ["." * STEPS] * 4


def test_what_fails_is_told_and_the_rest_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("directanimator.cluster.machines.RETRIES", 1)
    jobs = [Job(work, work) for work in ("bad", "wrong", "deadly", "good")] + [Job("after bad", "good", ("bad",))]
    with cluster(SHARE, {}) as machines:
        found = {job.name: outcome for job, outcome in machines.carry_out(refuse, jobs)}
    assert found["bad"] == Failed("it cannot be met")
    assert found["wrong"] == Failed("a defect: ZeroDivisionError: of nothing")
    assert "in refuse" in capsys.readouterr().err
    assert found["after bad"] == Failed("not begun, since bad failed")
    assert "its worker died 2 times: WorkerCrashedError" in found["deadly"].reason
    assert found["good"].value == "good"


TWO = Share("process", cpus=1, gpus=0.0, together=2)


def test_processes_meet_and_begin_again_together_when_one_is_killed(place: Path):
    (place / "deadly").touch()
    with cluster(TWO, {}) as machines:
        assert str(machines) == "1 machine, 1 at a time"
        found = [outcome for _, outcome in machines.carry_out(meet, [Job("a", place), Job("b", place)])]
    assert [outcome.value for outcome in found] == [(2, 2), (2, 2)]
    assert [(place / f"begun-{rank}").read_text() for rank in range(2)] == ["..."] * 2


def test_a_process_that_refuses_ends_those_that_wait_for_it(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("directanimator.cluster.machines.GRACE_S", 1.0)
    (place / "bad").touch()
    with cluster(TWO, {}) as machines:
        ((_, outcome),) = machines.carry_out(meet, [Job("a", place)])
    assert outcome == Failed("it cannot be met")
    assert [(place / f"begun-{rank}").read_text() for rank in range(2)] == ["."] * 2


def test_a_run_of_two_processes_trains_as_one_of_a_single_process_does(place: Path):
    spec = edit(PRESETS["smoke"].spec, {"evaluation.subsets": ("self",), "data.num_test_clips": 1})
    curves = []
    for share in (SHARE, TWO):
        make_runs([Order("full, seed 0", spec, {"preset": "smoke", "ablation": "full"}, fresh=True)], share, print, str)
        (run,) = (RunDirectory(path) for path in runs_root().glob("cross_id-*"))
        assert run.record().status == "finished"
        assert run.evaluation_file.exists()
        curves.append([(record.step, record.values["train/loss"]) for record in run.metrics.read()])
    assert curves[1] == [(step, pytest.approx(loss, abs=1e-3)) for step, loss in curves[0]]


def test_what_no_machine_has_is_refused():
    told = r"cpus_per_process=3 .*no machine.*there are 2 CPUs"
    with pytest.raises(UserError, match=told), cluster(Share("process", 3), {}):
        pass


def test_a_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(ADDRESS_VARIABLE, "127.0.0.1:9")
    with pytest.raises(UserError, match=r"RAY_ADDRESS=127\.0\.0\.1:9: nobody answers there"), cluster(SHARE, {}):
        pass


def test_cues_of_a_folder_are_those_made_in_a_row_though_a_worker_is_killed(
    place: Path, capsys: pytest.CaptureFixture[str]
):
    folder = place / "v"
    folder.mkdir()
    for number, name in enumerate("abc"):
        write_video(folder / f"{name}.mp4", walker(5 + number), 8.0)
    (folder / "broken.mp4").write_text("no video")

    def told(*words: str) -> tuple[str, str]:
        output = place / f"o{len(words)}"
        assert main([f"folder={folder}", f"output={output}", f"cache={output}/c", "size=48", *words], deadly_watch) == 1
        return (output / "manifest.json").read_text(), capsys.readouterr().out.partition("a: ")[2]

    on_cluster = told("engine=ray", "cpus_per_video=1")
    assert (folder / "killed").exists()
    assert on_cluster == told()
