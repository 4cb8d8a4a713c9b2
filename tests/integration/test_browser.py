"""What a person sees: MLflow's comparison of two runs and their videos, and the dashboard's list of studies."""

import json
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, urlsplit

import av
import pytest

from tests.integration.conftest import Swept, Workplace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is missing: apt-get install chromium"),
]
START_S = 120


@pytest.fixture(scope="module")
def shown(swept: Swept, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A copy of the searched workplace: what is run here is not met by the tests of the search."""
    root = tmp_path_factory.mktemp("shown") / "place"
    shutil.copytree(swept.root, root, symlinks=True)
    return Workplace(root)


@pytest.fixture(scope="module")
def addresses(shown: Workplace) -> Iterator[tuple[str, str, str]]:
    """MLflow's, the dashboard's, and that of the prepared page of variants; both servers answer."""
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.ui"], env=shown.environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said: list[str] = []
    while not said or not said[-1].startswith("ready"):
        said.append(process.stdout.readline())
        assert said[-1], "the command ended"
    mlflow, page, dashboard = re.findall(r"http://\S+", "".join(said))
    yield mlflow, dashboard, page
    process.send_signal(signal.SIGINT)
    assert process.wait(START_S) == 0
    process.stdout.close()
    assert not any(map(answers, (mlflow, dashboard)))


def answers(address: str) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((str(urlsplit(address).hostname), int(urlsplit(address).port or 0))) == 0


@pytest.fixture(scope="module")
def ablations(finished: Workplace, shown: Workplace) -> dict[str, tuple[str, Path]]:
    """MLflow's id and the directory of a run, by ablation."""
    done = shown.run("preset=smoke", "ablation=no_face_cue")
    assert done.returncode == 0, done.stderr
    found = {}
    for path in [*finished.students(), *shown.students()]:
        record = json.loads((path / "record.json").read_text())
        if "trial" not in record["tags"]:
            found[record["tags"]["ablation"]] = (next(iter(record["mirrors"].values()))["run_id"], path)
    assert found.keys() == {"full", "no_face_cue"}
    return found


CHROMIUM = ("chromium", "--headless", "--no-sandbox", "--disable-gpu")


@pytest.fixture
def dom(tmp_path: Path) -> Callable[[str, str], str]:
    def of(address: str, awaited: str) -> str:
        """The page after its scripts ran; asked for again while the awaited word is missing and time is left."""
        deadline = time.monotonic() + START_S
        while True:
            command = [*CHROMIUM, "--virtual-time-budget=20000"]
            command += ["--window-size=2400,1200"]  # what is beside the window is not drawn
            command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", address]
            page = subprocess.run(command, capture_output=True, text=True, timeout=START_S).stdout
            if awaited in page or time.monotonic() > deadline:
                return page

    return of


def comparison(mlflow: str, run_ids: Iterable[str]) -> str:
    """The address of MLflow's page that compares these runs."""
    return f"{mlflow}/#/compare-runs?runs={quote(json.dumps(list(run_ids)))}&experiments={quote(json.dumps(['1']))}"


def two_trials(place: Workplace) -> list[Path]:
    records = [run for run in place.students() if "study" in json.loads((run / "record.json").read_text())["tags"]]
    return records[:2]


def test_the_comparison_of_two_runs_shows_their_metrics_and_what_differs(
    shown: Workplace, addresses: tuple[str, str, str], dom: Callable[[str, str], str]
) -> None:
    runs = two_trials(shown)
    records = [json.loads((run / "record.json").read_text()) for run in runs]
    ids = [next(iter(record["mirrors"].values()))["run_id"] for record in records]
    page = dom(comparison(addresses[0], ids), "cross/motion")
    assert "Comparing 2 Runs" in page
    for name in ("cross/motion", "cross/psnr_foreground", "same2x.weight"):
        assert name in page
    for run in runs:
        assert str(json.loads((run / "spec.json").read_text())["same2x.weight"]) in page


def test_the_comparison_of_two_ablations_shows_what_was_edited_and_every_score(
    ablations: Mapping[str, tuple[str, Path]], addresses: tuple[str, str, str], dom: Callable[[str, str], str]
) -> None:
    ids = [run_id for run_id, _ in ablations.values()]
    page = dom(comparison(addresses[0], ids), "cross/motion")
    assert "Comparing 2 Runs" in page
    for name in ("cues.face.enabled", "cross/motion", "cross/psnr_foreground"):
        assert name in page
    for name in ablations:
        assert f"{name}, seed 0" in page


PLAYER = """<!doctype html><title>player</title><video muted autoplay src="{video}"></video><script>
const video = document.querySelector("video")
video.onended = () => fetch(`/played?${{video.videoWidth}}x${{video.videoHeight}},${{video.currentTime}}`)
video.onerror = () => fetch(`/broken?${{video.error.message}}`)
</script>"""


@pytest.mark.parametrize("ablation", ["full", "no_face_cue"])
def test_a_video_of_an_ablation_plays_to_its_end(
    ablation: str, ablations: Mapping[str, tuple[str, Path]], addresses: tuple[str, str, str], tmp_path: Path
) -> None:
    run_id, path = ablations[ablation]
    (video,) = (path / "media").rglob("cross_00.mp4")
    address = f"{addresses[0]}/get-artifact?path={quote(str(video.relative_to(path)))}&run_uuid={run_id}"
    told = queue.Queue[str]()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "?" in self.path:
                told.put(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PLAYER.format(video=address).encode())

        def log_message(self, *_: object) -> None:
            """Keeps quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        options = [f"--user-data-dir={tmp_path / 'profile'}", "--remote-debugging-port=0"]  # with a port it stays
        options += ["--autoplay-policy=no-user-gesture-required", f"http://127.0.0.1:{page.server_port}/"]
        browser = subprocess.Popen([*CHROMIUM, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            said = told.get(timeout=START_S)
        finally:
            browser.kill()
            browser.wait()
            page.shutdown()
    size, _, seconds = said.removeprefix("/played?").partition(",")
    with av.open(str(video)) as file:
        stream = file.streams.video[0]
        assert size == f"{stream.width}x{stream.height}"
        assert float(seconds) == pytest.approx(float(stream.duration * stream.time_base), abs=0.2)


def test_the_prepared_page_shows_finished_students_by_variant_and_no_trials(
    ablations: Mapping[str, tuple[str, Path]], addresses: tuple[str, str, str], dom: Callable[[str, str], str]
) -> None:
    page = dom(addresses[2], "Group: no_face_cue")
    groups = [page.count(f"Group: {name}, preset=smoke") for name in ablations]
    assert sum(groups) == page.count("Group: ")
    assert all(groups)
    assert not re.search(r"trial \d", page)
    assert "(average)" in page
    for column in ("cross/psnr_foreground", "cross/motion"):
        assert column in page
    assert "same-ID teacher" not in page


def test_the_dashboard_lists_the_study(addresses: tuple[str, str, str], dom: Callable[[str, str], str]) -> None:
    assert re.search(r"same2x-[0-9a-f]{8}", dom(f"{addresses[1]}/dashboard/", "same2x-"))


def test_the_dashboard_shows_a_trials_question_and_video(
    addresses: tuple[str, str, str], dom: Callable[[str, str], str]
) -> None:
    page = dom(f"{addresses[1]}/dashboard/studies/0/trials?numbers=0", "<video")
    assert "should the student be aligned" in page
    assert "<video" in page
