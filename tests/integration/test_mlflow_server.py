"""A tracking server of its own, reached over HTTP alone: it holds what the record holds, also after it was killed."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from experiments.record import RunDirectory
from experiments.tracking.mirror import sync
from experiments.tracking.tracker import MlflowTracker

pytestmark = pytest.mark.slow
START_S = 120


class Server:
    """`mlflow server` with a database and a place for artifacts, which clients do not see."""

    def __init__(self, place: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.artifacts = place / "artifacts"
        self.address = f"http://127.0.0.1:{self._port}"
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        stores = ["--backend-store-uri", f"sqlite:///{self._place}/server.db"]
        stores += ["--artifacts-destination", str(self.artifacts)]
        command = [sys.executable, "-m", "mlflow", "server", *stores, "--host", "127.0.0.1", "--port", str(self._port)]
        with (self._place / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--workers", "1"], cwd=self._place, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, (self._place / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    spec = {"same2x": {"weight": 0.5}}
    return RunDirectory.claim(tmp_path / "runs", "a", spec=spec, tags={"seed": "3"}, experiment=tmp_path.name)


def fill(run: RunDirectory, steps: range) -> None:
    for step in steps:
        run.metrics.append(step, {"train/loss": 1 / (step + 3)})


def finish(run: RunDirectory) -> None:
    (run.media / "step_000040").mkdir(parents=True)
    (run.media / "step_000040" / "cross_00.mp4").write_bytes(b"video")
    run.model.mkdir()
    (run.model / "spec.json").write_text("{}")
    (run.model / "weights.safetensors").write_bytes(bytes(range(256)) * 1000)
    run.evaluation_file.write_text('{"summary": {"cross": {"motion": 0.25}}}')
    run.finish()


def check_copy(server: Server, run: RunDirectory, place: Path) -> None:
    """The server's copy is the record: every measurement once and to the bit, status, scores, videos, model."""
    client = MlflowClient(tracking_uri=server.address)
    mirror = run.record().mirrors[server.address]
    copy = client.get_run(mirror.run_id)
    assert (copy.info.status, copy.data.tags["seed"]) == ("FINISHED", "3")
    assert copy.data.params == {"same2x.weight": "0.5"}
    history = sorted((point.step, point.value) for point in client.get_metric_history(mirror.run_id, "train/loss"))
    assert history == [(record.step, record.values["train/loss"]) for record in run.metrics.read()]
    assert copy.data.metrics["cross/motion"] == 0.25
    video = client.download_artifacts(mirror.run_id, "media/step_000040/cross_00.mp4", str(place))
    assert Path(video).read_bytes() == b"video"
    assert copy.info.artifact_uri.startswith("mlflow-artifacts:")
    stored = [path for path in server.artifacts.rglob("weights.safetensors") if str(mirror.model_id) in str(path)]
    assert [path.read_bytes() for path in stored] == [(run.model / "weights.safetensors").read_bytes()]


def test_what_goes_on_over_http_is_mirrored_whole(
    server: Server, run: RunDirectory, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = MlflowTracker(server.address, every_seconds=0.2)
    tracker.start(run)
    fill(run, range(20))
    time.sleep(1)
    fill(run, range(20, 40))
    finish(run)
    tracker.finish()
    assert capfd.readouterr() == ("", "")
    check_copy(server, run, tmp_path)
    known = run.record()
    sync(run.path, server.address)
    assert run.record() == known
    check_copy(server, run, tmp_path)


def test_a_server_that_is_killed_and_comes_back_has_lost_and_doubled_nothing(
    server: Server, run: RunDirectory, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = MlflowTracker(server.address, every_seconds=0.2, retry_seconds=0.2)
    tracker.start(run)
    fill(run, range(20))
    deadline = time.monotonic() + START_S
    while server.address not in run.record().mirrors:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    server.kill()
    fill(run, range(20, 40))
    time.sleep(3)
    server.start()
    finish(run)
    tracker.finish()
    assert capfd.readouterr().err.count("\n") == 1
    check_copy(server, run, tmp_path)
