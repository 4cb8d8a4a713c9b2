"""What a person sees: MLflow's comparison of two runs, and the dashboard's list of studies."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.conftest import Swept, Workplace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is missing: apt-get install chromium"),
]
START_S = 120


@pytest.fixture(scope="module")
def addresses(swept: Swept) -> Iterator[tuple[str, str, str]]:
    """MLflow's, the dashboard's, and that of the prepared page of variants; both servers answer."""
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.ui"], env=swept.environment(), stdout=subprocess.PIPE, text=True
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


@pytest.fixture
def dom(tmp_path: Path) -> Callable[[str, str], str]:
    def of(address: str, awaited: str) -> str:
        """The page after its scripts ran; asked for again while the awaited word is missing and time is left."""
        deadline = time.monotonic() + START_S
        while True:
            command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
            command += ["--window-size=2400,1200"]  # what is beside the window is not drawn
            command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", address]
            page = subprocess.run(command, capture_output=True, text=True, timeout=START_S).stdout
            if awaited in page or time.monotonic() > deadline:
                return page

    return of


def two_trials(place: Workplace) -> list[Path]:
    records = [run for run in place.students() if "study" in json.loads((run / "record.json").read_text())["tags"]]
    return records[:2]


def test_the_comparison_of_two_runs_shows_their_metrics_and_what_differs(
    swept: Swept, addresses: tuple[str, str, str], dom: Callable[[str, str], str]
) -> None:
    runs = two_trials(swept)
    records = [json.loads((run / "record.json").read_text()) for run in runs]
    ids = json.dumps([next(iter(record["mirrors"].values()))["run_id"] for record in records])
    address = f"{addresses[0]}/#/compare-runs?runs={quote(ids)}&experiments={quote(json.dumps(['1']))}"
    page = dom(address, "cross/motion")
    assert "Comparing 2 Runs" in page
    for name in ("cross/motion", "cross/psnr_foreground", "same2x.weight"):
        assert name in page
    for run in runs:
        assert str(json.loads((run / "spec.json").read_text())["same2x.weight"]) in page


def test_the_prepared_page_shows_finished_students_by_variant_and_no_trials(
    addresses: tuple[str, str, str], dom: Callable[[str, str], str]
) -> None:
    page = dom(addresses[2], "Group: ")
    assert page.count("Group: full, preset=smoke") == page.count("Group: ") > 0
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
