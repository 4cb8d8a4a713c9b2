"""A table killed in the middle and started again is the table of a driver that was never stopped."""

import json
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.integration.conftest import Workplace

pytestmark = pytest.mark.slow

WORDS = ("table=same2x", "variants=no_same2x,student_from_base", "preset=smoke", "seeds=2", "evaluation.subsets=cross")
STAGES = 2 + 3 * 2
DEADLINE_S = 280


def place_with_clips(finished: Workplace, root: Path) -> Workplace:
    """A workplace without runs that has the prepared clips."""
    root.mkdir(exist_ok=True)
    shutil.copytree(finished.root / "cache", root / "cache")
    shutil.copy(finished.root / "mlflow.db", root / "mlflow.db")
    return Workplace(root)


@pytest.fixture(scope="module")
def unbroken(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = place_with_clips(finished, tmp_path_factory.mktemp("unbroken"))
    place.call_from_nothing("-m", "experiments.table", *WORDS)
    return place


def report(place: Workplace, suffix: str) -> str:
    (found,) = (place.root / "tables").glob(f"same2x-*/media/table.{suffix}")
    return found.read_text()


def scores(place: Workplace) -> dict[str, object]:
    return {
        path.parent.name: json.loads(path.read_text())["clips"]
        for path in (place.root / "runs").glob("*/evaluation.json")
    }


def curves(place: Workplace) -> dict[str, list[tuple[int, dict[str, float]]]]:
    """The logs of all stages, without the clock."""
    logs = (place.root / "runs").glob("*/metrics.jsonl")
    lines = {log.parent.name: [json.loads(line) for line in log.read_text().splitlines()] for log in logs}
    return {name: [(line["step"], line["values"]) for line in several] for name, several in lines.items()}


def students_begun(place: Workplace) -> int:
    return len(list((place.root / "runs").glob("cross_id-*/metrics.jsonl")))


def test_a_table_killed_in_mid_run_equals_an_unbroken_one(finished: Workplace, unbroken: Workplace, tmp_path: Path):
    place = place_with_clips(finished, tmp_path / "killed")
    driver = place.begin("-m", "experiments.table", *WORDS)
    deadline = time.monotonic() + DEADLINE_S
    while students_begun(place) < 3 and driver.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    driver.send_signal(signal.SIGKILL)
    assert driver.wait(DEADLINE_S) == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in (place.root / "runs").glob("*/model/spec.json")}
    assert 0 < len(before) < STAGES
    again = place.call("-m", "experiments.table", *WORDS)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert curves(place) == curves(unbroken)
    assert scores(place) == scores(unbroken)
    assert report(place, "csv") == report(unbroken, "csv")


def test_every_stage_is_trained_once_and_held_out_losses_are_logged(unbroken: Workplace):
    found = curves(unbroken)
    assert len(found) == STAGES
    for name, curve in found.items():
        assert [step for step, _ in curve] == [1, 2, 3, 4]
        assert all(("held_out/denoising" in values) == name.startswith("cross_id") for _, values in curve)


def test_the_report_is_whole_and_mlflow_has_it(unbroken: Workplace):
    assert "no_same2x" in report(unbroken, "md")
    assert report(unbroken, "html").count("<svg") >= 3
    (record,) = (unbroken.root / "tables").glob("same2x-*/record.json")
    found = json.loads(record.read_text())
    assert found["status"] == "finished"
    assert [mirror["run_id"] for mirror in found["mirrors"].values()]
