"""A run's directory tells the truth, also after a crash."""

import errno
import json
import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.errors import UserError
from directanimator.places import mlruns_root
from experiments.record import PRUNED_TAG, START, MetricsLog, RunDirectory, commit_tags, environment, locked

NAMES = st.sampled_from(["loss", "val/psnr", "system/cpu", "grad norm"])
ENTRIES = st.lists(st.tuples(st.integers(0, 50), st.dictionaries(NAMES, st.floats(), min_size=1)), max_size=12)
SCRATCH = Path()
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory):
    global SCRATCH
    SCRATCH = tmp_path_factory.mktemp("logs")


def fresh_log() -> MetricsLog:
    return MetricsLog(Path(tempfile.mkdtemp(dir=SCRATCH)) / "metrics.jsonl")


def filled(entries) -> MetricsLog:
    log = fresh_log()
    for step, values in entries:
        log.append(step, values)
    return log


def shown(log: MetricsLog) -> list[tuple[int, dict[str, str]]]:
    return [(r.step, {k: v.hex() for k, v in r.values.items()}) for r in log.read()]


def claimed(runs: Path, **changes) -> RunDirectory:
    return RunDirectory.claim(runs, "a", **{"spec": {"x": 1}, "tags": {"seed": "0"}, "experiment": "e"} | changes)


@given(ENTRIES)
def test_what_is_appended_is_read_back_to_the_last_bit(entries):
    expected = [
        (step, {k: math.nan.hex() if math.isnan(v) else v.hex() for k, v in vs.items()}) for step, vs in entries
    ]
    assert shown(filled(entries)) == expected


@given(ENTRIES)
def test_every_line_is_strict_json(entries):
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    log = filled(entries)
    for line in log.path.read_text().splitlines() if entries else []:
        json.loads(line, parse_constant=refuse)


@given(ENTRIES, st.integers(-1, 51))
def test_truncation_keeps_exactly_the_steps_up_to_the_given_one(entries, step):
    log = filled(entries)
    whole = shown(log)
    log.truncate_after(step)
    assert shown(log) == [record for record in whole if record[0] <= step]


@given(ENTRIES.filter(len), st.floats(0, 1, exclude_max=True))
def test_a_torn_tail_costs_the_torn_record_alone(entries, share):
    log = filled(entries)
    content = log.path.read_bytes()
    last = len(content) - len(content.splitlines(keepends=True)[-1])
    log.path.write_bytes(content[: last + int(share * (len(content) - last))])
    before = shown(log)
    assert before == shown(filled(entries[:-1]))
    log.append(7, {"loss": 1.5})
    assert shown(log) == [*before, (7, {"loss": (1.5).hex()})]


def test_a_torn_tail_longer_than_the_next_line_leaves_no_trace():
    log = filled([(0, {"loss": 1.0})])
    with log.path.open("ab") as file:
        file.write(b'{"step": 1, "time": 1.0, "values": {"' + b"x" * 200)
    log.append(1, {"loss": 0.5})
    assert shown(log) == shown(filled([(0, {"loss": 1.0}), (1, {"loss": 0.5})]))
    assert log.path.read_bytes().count(b"x") == 0


@given(ENTRIES)
def test_truncation_removes_a_torn_tail(entries):
    log = filled(entries)
    with log.path.open("ab") as file:
        file.write(b'{"step": 1, "ti')
    log.truncate_after(100)
    assert log.path.read_bytes().endswith(b"\n") or not entries
    assert shown(log) == shown(filled(entries))


@given(ENTRIES, st.sampled_from([b"", b'{"step": 99, "ti']))
def test_the_last_step_is_that_of_the_last_whole_record(entries, torn):
    log = filled(entries)
    if entries or torn:
        with log.path.open("ab") as file:
            file.write(torn)
    assert log.last_step() == (entries[-1][0] if entries else 0)


def test_a_last_line_that_is_no_record_is_told_with_its_number():
    log = filled([(0, {"loss": 1.0}), (1, {"loss": 1.0})])
    with log.path.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(UserError, match="line 3: not a record"):
        log.last_step()


@given(ENTRIES)
def test_reading_in_two_parts_equals_reading_at_once(entries):
    log = fresh_log()
    half = len(entries) // 2
    for step, values in entries[:half]:
        log.append(step, values)
    first, place = log.read_from(START)
    for step, values in entries[half:]:
        log.append(step, values)
    second, _ = log.read_from(place)
    assert [r.step for r in first + second] == [step for step, _ in entries]


@given(ENTRIES, st.integers(0, 50), ENTRIES)
def test_a_reader_of_a_log_that_was_cut_starts_over_and_any_other_goes_on(before, step, after):
    log = filled(before)
    seen, place = log.read_from(START)
    log.truncate_after(step)
    for number, values in after:
        log.append(number, values)
    more, _ = log.read_from(place)
    whole, is_cut = [record.step for record in log.read()], any(number > step for number, _ in before)
    expected = whole if is_cut else whole[len(seen) :]
    # a cut in the middle that spares the last line moves it: then the reader starts over as well
    assert [record.step for record in more] == expected


@pytest.mark.parametrize("name", ["", "a=b", "a//b", "../a", "/a", "a/", "loss\n", "x" * 251, "a[0]"])
def test_a_metric_name_that_a_server_would_refuse_is_refused_at_once(name):
    with pytest.raises(UserError, match="metric name"):
        fresh_log().append(0, {name: 1.0})


@pytest.mark.parametrize("step", [-1, 0.5, True])
def test_an_illegal_step_is_refused(step):
    with pytest.raises(UserError, match="step"):
        fresh_log().append(step, {"loss": 1.0})


def test_a_line_that_is_no_record_is_named():
    log = filled([(0, {"loss": 1.0})])
    log.path.write_bytes(log.path.read_bytes() + b"[1]\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2"):
        log.read()


def test_a_full_disk_leaves_the_log_as_it_was(monkeypatch):
    log = filled([(0, {"loss": 1.0})])
    before, write = log.path.read_bytes(), os.pwrite

    def half_then_full(descriptor: int, line: bytes, offset: int) -> int:
        if len(line) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, line[:-10], offset)

    monkeypatch.setattr(os, "pwrite", half_then_full)
    with pytest.raises(UserError, match="No space left"):
        log.append(1, {"loss": 0.5})
    assert log.path.read_bytes() == before


def test_a_killed_writer_loses_nothing_that_it_appended(tmp_path):
    writer = (
        "import sys; from pathlib import Path; from experiments.record import MetricsLog\n"
        "log = MetricsLog(Path(sys.argv[1])); step = 0\n"
        "while True:\n log.append(step, {'loss': 0.1}); print(step, flush=True); step += 1\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", writer, tmp_path / "m.jsonl"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with process:
        acknowledged = [process.stdout.readline() for _ in range(200)]
        process.kill()
    steps = [record.step for record in MetricsLog(tmp_path / "m.jsonl").read()]
    assert steps == list(range(len(steps)))
    assert len(steps) >= len(acknowledged)


def test_claiming_a_run_again_with_its_spec_goes_on_with_it(tmp_path):
    first = claimed(tmp_path)
    first.metrics.append(0, {"loss": 1.0})
    first.update(status="interrupted")
    again = claimed(tmp_path, tags={"commit": "c"})
    assert again.record().id == first.record().id
    assert again.status == "running"
    assert again.record().tags == {"seed": "0", "commit": "c"}
    assert len(again.metrics.read()) == 1


def test_a_finished_run_that_is_claimed_again_stays_finished_and_its_seal_shows_later_edits(tmp_path):
    claimed(tmp_path).finish()
    again = claimed(tmp_path, tags={"table": "t"})
    assert again.status == "finished"
    assert again.record().tags["table"] == "t"
    again.metrics.append(0, {"loss": 1.0})
    assert claimed(tmp_path).was_edited()


def test_a_run_that_was_given_up_and_then_finished_says_both_once(tmp_path):
    run = claimed(tmp_path)
    run.update(tags={PRUNED_TAG: "after step 2 of 9"})
    run.finish()
    run.update(status="running")  # as a finished run is while it is judged anew
    run.finish()
    assert run.record().tags[PRUNED_TAG] == "after step 2 of 9; gone on with later, to the end"
    assert not run.was_edited()


def test_claiming_a_run_of_another_spec_is_refused_and_changes_nothing(tmp_path):
    run = claimed(tmp_path)
    run.update(status="finished")
    with pytest.raises(UserError, match="another spec"):
        claimed(tmp_path, spec={"x": 2})
    assert (run.spec(), run.status) == ({"x": 1}, "finished")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a\n"])
def test_a_run_name_cannot_leave_the_runs_directory(tmp_path, name):
    with pytest.raises(UserError, match="run name"):
        RunDirectory.claim(tmp_path, name, spec={}, tags={}, experiment="e")


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"id": 3}'])
def test_a_damaged_record_is_one_line(tmp_path, content):
    run = claimed(tmp_path)
    run.record_file.unlink() if content is None else run.record_file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        RunDirectory.open(run.path)
    assert "\n" not in str(caught.value)


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path):
    run = claimed(tmp_path)
    with run.exclusive(), pytest.raises(UserError, match="in use"), run.exclusive():
        pass
    with run.exclusive():
        pass


def test_workers_that_claim_a_new_run_at_once_have_one_run(tmp_path):
    for attempt in range(10):
        together = threading.Barrier(4)

        def claim(_, together=together, runs=tmp_path / str(attempt)):
            together.wait()
            return claimed(runs).record().id

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(claim, range(4)))) == 1


def test_who_is_willing_to_wait_trains_after_the_other(tmp_path):
    run = claimed(tmp_path)
    order = []

    def second():
        with run.exclusive(wait=True):
            order.append("second")

    with run.exclusive():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


@pytest.mark.parametrize("name", ["spec.json", "evaluation.json", "metrics.jsonl"])
def test_a_seal_shows_any_later_edit(tmp_path, name):
    run = claimed(tmp_path)
    assert run.was_edited() is None
    run.metrics.append(1, {"loss": 1.0})
    run.evaluation_file.write_text("{}")
    run.finish()
    run.update(tags={"note": "x"})
    assert (run.status, run.was_edited()) == ("finished", False)
    (run.path / name).write_bytes((run.path / name).read_bytes() + b" ")
    assert run.was_edited()


def test_a_forked_worker_does_not_keep_a_lock(tmp_path):
    context = multiprocessing.get_context("fork")
    with locked(tmp_path / "lock"):
        worker = context.Process(target=time.sleep, args=(30,))
        worker.start()
    try:
        with locked(tmp_path / "lock", wait=False):
            pass
    finally:
        worker.kill()
        worker.join()


def test_the_root_follows_the_variable_and_not_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("DIRECTANIMATOR_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert mlruns_root() == ROOT / "mlruns"
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path / "there"))
    assert mlruns_root() == tmp_path / "there"


def test_the_environment_names_a_package_in_use():
    assert any(line.startswith("pydantic==2.") for line in environment().splitlines())


def test_the_state_of_the_source_tree_has_two_tags():
    assert set(commit_tags()) == {"commit", "dirty"}
