"""A sweep by two workers, one of which is killed in the middle of a trial; and a run that is made again."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.conftest import SWEEP, Swept, Workplace

pytestmark = pytest.mark.slow

NEW_TRIAL, NEW_STATE = 4, 6
"""Codes in Optuna's journal."""


def journal(place: Workplace) -> list[dict[str, object]]:
    lines = (place.root / "optuna" / "journal.log").read_text().splitlines()
    return [json.loads(line) for line in lines]


def tags(run: Path) -> dict[str, str]:
    return json.loads((run / "record.json").read_text())["tags"]


def test_no_trial_is_lost_or_doubled_when_a_worker_is_killed(swept: Swept):
    assert swept.killed
    assert swept.status == 0, swept.output
    entries = journal(swept)
    assert sum(entry["op_code"] == NEW_TRIAL for entry in entries) == 4
    told = Counter(entry["trial_id"] for entry in entries if entry["op_code"] == NEW_STATE)
    assert told == dict.fromkeys(range(4), 1)
    deaths = [entry["user_attr"]["deaths"] for entry in entries if "deaths" in entry.get("user_attr", {})]
    assert deaths == [1]
    assert "1 of 2 workers ended early (signal 9)" in swept.output
    assert "4 complete, 0 pruned, 0 failed" in swept.output


def test_every_trial_is_one_finished_run_tagged_with_the_study(swept: Swept):
    runs = swept.students()
    assert sorted(tags(run)["trial"] for run in runs) == ["0", "1", "2", "3"]
    assert len({tags(run)["study"] for run in runs}) == 1
    assert {json.loads((run / "record.json").read_text())["status"] for run in runs} == {"finished"}
    for run in runs:
        steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert steps == [1, 2, 3, 4]


def test_all_trials_share_one_teacher(swept: Swept):
    assert len(list((swept.root / "runs").glob("same_id-*"))) == 1


def test_the_same_command_again_runs_nothing(swept: Swept):
    def told() -> list[dict[str, object]]:
        return [entry for entry in journal(swept) if entry["op_code"] in (NEW_TRIAL, NEW_STATE)]

    before, weights = told(), [run.stat().st_mtime_ns for run in swept.students()]
    again = swept.call("-m", "experiments.sweep", *(word for word in SWEEP if not word.startswith("workers")))
    assert again.returncode == 0, again.stderr
    assert told() == before
    assert [run.stat().st_mtime_ns for run in swept.students()] == weights
    assert "4 complete" in again.stdout


def test_a_run_made_again_has_the_same_numbers(swept: Swept):
    """Also one whose training was killed and taken over by another worker."""
    (run,) = [path for path in swept.students() if tags(path)["trial"] == taken_over(swept)]
    place = swept.root / "reproductions" / run.name
    place.mkdir(parents=True)
    (place / "cache").symlink_to(swept.root / "cache")
    done = swept.call("-m", "experiments.reproduce", f"run={run.name}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the numbers agree" in done.stdout
    assert re.search("student's weights +equal bit for bit", done.stdout)


def taken_over(swept: Swept) -> str:
    (trial,) = [entry["trial_id"] for entry in journal(swept) if "deaths" in entry.get("user_attr", {})]
    return str(trial)
