"""Several workers on one study: every trial once, whoever dies; the same draws as if nobody had."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.errors import UserError
from experiments.edit import diff, edit
from experiments.sweeps import search, storage
from experiments.sweeps.search import MOST_DEATHS, Search, Trial
from experiments.sweeps.space import Choice, Limit, Objective, Range, Sweep, checked, journal_address
from tests.experiments.strategies import BASE
from tests.forked import forks

SCRATCH = Path()
SWEEP = checked(
    Sweep(
        question="?",
        space={
            "optim.learning_rate": Range(low=1e-5, high=1e-2, log=True),
            "same2x.weight": Range(low=0, high=2, step=0.5),
            "cues.location.soften_cells": Range(low=1, high=6),
            "cross_id.init": Choice(values=("teacher", "base")),
            "cues.face.enabled": Choice(values=(True, False)),
        },
        objectives=(Objective(metric="cross/motion", direction="maximize"),),
    ),
    BASE,
)


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> None:
    global SCRATCH
    SCRATCH = tmp_path_factory.mktemp("studies")


@pytest.fixture
def place() -> Path:
    return fresh_place()


def fresh_place() -> Path:
    return Path(tempfile.mkdtemp(dir=SCRATCH))


def worker(place: Path, sweep: Sweep = SWEEP, name: str = "study", seed: int = 0) -> Search:
    return Search(name, sweep, seed, journal_address(place), place)


def score(edits: dict[str, Any]) -> dict[str, float]:
    return {"cross/motion": float(edits["same2x.weight"]) - float(edits["optim.learning_rate"])}


def claimed(searcher: Search, budget: int) -> search.Claim:
    claim = searcher.claim(budget)
    assert isinstance(claim, search.Claim)
    return claim


def finish(searcher: Search, budget: int) -> int:
    """Trials that this worker completes before nothing is left."""
    count = 0
    while True:
        with searcher.next_trial(budget) as trial:
            if trial is None:
                return count
            trial.complete(score(trial.edits))
            count += 1


FATES = st.lists(
    st.tuples(st.sampled_from(["complete", "give up", "fail", "die", "die at once", "leave"]), st.booleans()),
    max_size=8,
)


@given(FATES)
def test_no_trial_is_lost_or_doubled_whoever_dies(fates: list[tuple[str, bool]]) -> None:
    place, budget = fresh_place(), 4
    workers = (worker(place), worker(place))
    drawn: dict[int, dict[str, Any]] = {}
    told: list[int] = []
    for fate, second in fates:
        claim = workers[second].claim(budget)
        if not isinstance(claim, search.Claim):
            break
        trial = claim.trial
        assert drawn.setdefault(trial.number, trial.edits) == trial.edits
        if fate == "leave":
            claim.leave()
            continue
        if fate not in ("die", "die at once"):
            told.append(trial.number)
        if fate == "complete":
            trial.complete(score(trial.edits))
        if fate == "give up":
            trial.give_up()
        if fate == "fail":
            trial.fail("no memory")
        claim.drop()
        if fate == "die at once" and len(workers[0].results()) < budget:
            workers[second].study.ask()  # killed before anything else could be written
    finish(workers[0], budget)
    results = workers[1].results()
    assert [result.number for result in results] == list(range(budget))
    assert all(result.state in ("complete", "pruned", "failed") for result in results)
    assert len(told) == len(set(told))
    assert all(result.edits == drawn[result.number] for result in results if result.number in drawn)


@given(st.lists(st.integers(0, 2), min_size=3, max_size=3))
def test_a_search_that_is_killed_draws_what_one_that_is_not_would_draw(deaths: list[int]) -> None:
    calm, stormy = fresh_place(), fresh_place()
    finish(worker(calm), 3)
    for count in deaths:
        for _ in range(count):
            claimed(worker(stormy), 3).drop()
        with worker(stormy).next_trial(3) as trial:
            assert trial is not None
            trial.complete(score(trial.edits))
    drawn = [[result.edits for result in worker(place).results()] for place in (calm, stormy)]
    assert drawn[0] == drawn[1]


@given(st.integers(0, 2**32 - 1), st.sampled_from(["tpe"]))
def test_a_draw_is_a_legal_edit_of_the_searched_paths_alone(seed: int, sampler: str) -> None:
    searcher = worker(fresh_place(), SWEEP.model_copy(update={"sampler": sampler}), seed=seed)
    with searcher.next_trial(1) as trial:
        assert trial is not None
        edits = trial.edits
    assert set(edits) == set(SWEEP.space)
    assert set(diff(BASE, edit(BASE, edits))) <= set(SWEEP.space)
    assert type(edits["cues.location.soften_cells"]) is int
    assert 1 <= edits["cues.location.soften_cells"] <= 6
    assert 1e-5 <= edits["optim.learning_rate"] <= 1e-2
    assert edits["same2x.weight"] in (0, 0.5, 1, 1.5, 2)
    assert type(edits["cues.face.enabled"]) is bool


def test_two_seeds_draw_differently() -> None:
    drawn = []
    for seed in (0, 1):
        with worker(fresh_place(), seed=seed).next_trial(1) as trial:
            assert trial is not None
            drawn.append(trial.edits)
    assert drawn[0] != drawn[1]


def test_all_trials_of_a_seed_are_not_the_same(place: Path) -> None:
    finish(worker(place), 6)
    assert len({json.dumps(result.edits) for result in worker(place).results()}) > 3


@pytest.mark.slow
def test_the_gaussian_process_draws_legal_edits(place: Path) -> None:
    finish(worker(place, SWEEP.model_copy(update={"sampler": "gp"})), 13)
    results = worker(place, SWEEP.model_copy(update={"sampler": "gp"})).results()
    assert len(results) == 13
    for result in results:
        edit(BASE, result.edits)


def test_what_a_worker_holds_another_does_not_get(place: Path) -> None:
    first, second = worker(place), worker(place)
    with first.next_trial(9) as one, second.next_trial(9) as two:
        assert one is not None
        assert two is not None
        assert one.number != two.number


def test_the_last_worker_waits_for_the_others_and_takes_over_from_the_dead(place: Path) -> None:
    first, second = worker(place), worker(place)
    claim = claimed(first, 1)
    got: list[int | None] = []

    def last() -> None:
        with second.next_trial(1) as trial:
            got.append(trial and trial.number)
            if trial:
                trial.complete(score(trial.edits))

    thread = threading.Thread(target=last)
    thread.start()
    thread.join(0.3)
    assert not got
    claim.drop()
    thread.join(20)
    assert got == [claim.trial.number]


def test_a_trial_that_kills_every_worker_is_failed_in_the_end(place: Path) -> None:
    for _ in range(MOST_DEATHS):
        claim = claimed(worker(place), 2)
        assert claim.trial.number == 0
        claim.drop()
    assert finish(worker(place), 2) == 1
    (first, second) = worker(place).results()
    assert (first.state, second.state) == ("failed", "complete")
    assert "died" in first.reason


def test_leaving_politely_is_no_death(place: Path) -> None:
    for _ in range(MOST_DEATHS + 3):
        with pytest.raises(KeyboardInterrupt), worker(place).next_trial(1):
            raise KeyboardInterrupt
    assert finish(worker(place), 1) == 1


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
@pytest.mark.parametrize("fate", ["leave", "drop"])
def test_in_a_file_a_trial_goes_on_from_any_machine_and_place_once_nobody_holds_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, kind: str, fate: str
) -> None:
    address = str(place / "shared.log") if kind == "journal" else f"sqlite:///{place}/shared.db"
    first = claimed(Search("study", SWEEP, 0, address, place / "one"), 1)
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    other = Search("study", SWEEP, 0, address, place / "two")
    assert other.claim(1) == "busy"
    getattr(first, fate)()
    taken = claimed(other, 1)
    assert (taken.trial.number, taken.trial.edits) == (0, first.trial.edits)
    taken.drop()


def test_a_file_is_one_study_by_whatever_path_it_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "shared.log").write_bytes(b"")
    (place / "links").mkdir()
    (place / "links" / "link.log").symlink_to(place / "shared.log")
    monkeypatch.chdir(place)
    addresses = ["shared.log", str(place / "shared.log"), "links/../shared.log", "links/link.log"]
    claims = [claimed(Search("study", SWEEP, 0, address, place), 9) for address in addresses]
    assert [claim.trial.number for claim in claims] == [0, 1, 2, 3]
    for claim in claims:
        claim.drop()


def test_a_trial_that_is_finished_between_two_looks_is_not_taken_over(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = worker(place), worker(place)
    claim = claimed(first, 1)
    held = Search._held

    def finish_first(searcher: Search, number: int) -> Any:
        monkeypatch.setattr(Search, "_held", held)
        claim.trial.complete(score(claim.trial.edits))
        claim.drop()
        return held(searcher, number)

    monkeypatch.setattr(Search, "_held", finish_first)
    assert second.claim(1) is None
    assert [result.state for result in second.results()] == ["complete"]


def _die_holding(place: Path) -> None:
    searcher = worker(place)
    searcher.claim(4)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_process_gives_its_trial_back(place: Path) -> None:
    process = forks().Process(target=_die_holding, args=(place,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert finish(worker(place), 4) == 4
    assert [result.state for result in worker(place).results()] == ["complete"] * 4


@given(st.integers(0, 300))
def test_a_journal_cut_off_anywhere_loses_its_last_lines_alone(cut: int) -> None:
    place = fresh_place()
    finish(worker(place), 2)
    journal = Path(journal_address(place))
    whole = journal.read_bytes()
    journal.write_bytes(whole[: len(whole) - min(cut, len(whole))])
    kept = worker(place).results()
    assert finish(worker(place), 2) == 2 - sum(result.state == "complete" for result in kept)
    results = worker(place).results()
    assert [result.number for result in results] == [0, 1]
    for before in kept:
        if before.state == "complete":
            assert results[before.number] == before


def reported(trial: Trial, values: list[float]) -> int:
    """Reports until told to stop, and how many that were."""
    for step, value in enumerate(values, 1):
        if trial.report(step, value):
            return step
    return len(values)


def test_hyperband_gives_up_a_training_that_is_among_the_worst(place: Path) -> None:
    searcher = worker(place, SWEEP.model_copy(update={"pruner": "hyperband"}))
    for number in range(20):
        with searcher.next_trial(20) as trial:
            assert trial is not None
            done = reported(trial, [-float(number)] * search.REPORTS)
            if done < search.REPORTS:
                trial.give_up()
            else:
                trial.complete({"cross/motion": -float(number)})
    states = [result.state for result in searcher.results()]
    assert states[0] == "complete"
    assert states.count("pruned") > 8
    assert searcher.best()[0].number == 0


@pytest.mark.parametrize(("shift", "stopped"), [(-1.0, True), (1.0, False), (0.0, False)])
def test_wilcoxon_leaves_out_seeds_of_a_trial_that_is_worse_seed_by_seed(
    place: Path, shift: float, stopped: bool
) -> None:
    """Seeds differ by far more than trials do: only pairs can tell."""
    searcher = worker(place, SWEEP.model_copy(update={"pruner": "wilcoxon", "seeds": 8}))
    seeds = [3.0, -20.0, 11.0, 40.0, -7.0, 25.0, -33.0, 8.0]
    with searcher.next_trial(2) as trial:
        assert trial is not None
        assert reported(trial, seeds) == 8
        trial.complete({"cross/motion": sum(seeds) / 8})
    with searcher.next_trial(2) as trial:
        assert trial is not None
        assert (reported(trial, [value + shift for value in seeds]) < 8) is stopped
        # What it would have reached on all seeds, not its mean over those it saw.
        assert trial.estimate() == {"cross/motion": pytest.approx(sum(seeds) / 8 + shift)}


def test_a_report_made_again_after_a_takeover_is_taken_once(place: Path) -> None:
    searcher = worker(place, SWEEP.model_copy(update={"pruner": "hyperband"}))
    first = claimed(searcher, 1)
    first.trial.report(1, -3.0)
    first.drop()
    second = claimed(worker(place, SWEEP.model_copy(update={"pruner": "hyperband"})), 1)
    second.trial.report(1, -3.0)
    second.trial.report(2, -2.0)
    assert searcher.study.trials[0].intermediate_values == {1: -3.0, 2: -2.0}
    second.drop()


def test_a_trial_beyond_a_constraint_is_never_the_best(place: Path) -> None:
    limited = SWEEP.model_copy(update={"constraints": (Limit(metric="cross/identity", at_least=0.9),)})
    searcher = worker(place, limited)
    for value, identity in ((1.0, 0.95), (5.0, 0.5), (0.5, 1.0)):
        with searcher.next_trial(3) as trial:
            assert trial is not None
            trial.complete({"cross/motion": value, "cross/identity": identity})
    assert [result.number for result in searcher.best()] == [0]
    assert [result.feasible for result in searcher.results()] == [True, False, True]


def test_of_two_objectives_the_front_is_the_best(place: Path) -> None:
    goals = (*SWEEP.objectives, Objective(metric="seconds", direction="minimize"))
    searcher = worker(place, SWEEP.model_copy(update={"objectives": goals}))
    for motion, seconds in ((0.5, 10.0), (0.4, 20.0), (0.9, 30.0)):
        with searcher.next_trial(3) as trial:
            assert trial is not None
            trial.complete({"seconds": seconds, "cross/motion": motion})
    assert [result.number for result in searcher.best()] == [0, 2]
    assert searcher.results()[2].values == {"cross/motion": 0.9, "seconds": 30.0}


def test_a_trial_without_a_number_fails_and_says_why(place: Path) -> None:
    searcher = worker(place)
    with searcher.next_trial(1) as trial:
        assert trial is not None
        trial.complete({"cross/motion": float("nan")})
    (result,) = searcher.results()
    assert (result.state, result.reason) == ("failed", "cross/motion has no value")


def test_no_finished_trial_means_no_best(place: Path) -> None:
    assert worker(place).best() == []


def refusal(address: str, place: Path) -> str:
    with pytest.raises(UserError) as caught:
        Search("study", SWEEP, 0, address, place)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("content", ["not a journal\nat all\n", '{"step": 1}\n', "[]\n"])
def test_a_file_that_is_no_journal_is_refused(place: Path, content: str) -> None:
    (place / "text").write_text(content)
    before = (place / "text").read_bytes()
    assert "is no journal of Optuna" in refusal(str(place / "text"), place)
    assert (place / "text").read_bytes() == before


def test_an_unreachable_server_is_one_line_without_the_password(place: Path) -> None:
    said = refusal("postgresql://me:secret@127.0.0.1:9/db", place)
    assert "127.0.0.1:9" in said
    assert "secret" not in said


def test_an_unknown_kind_of_storage_is_refused(place: Path) -> None:
    assert "did you mean 'postgresql'" in refusal("postgressql://127.0.0.1/db", place)


def test_a_place_that_cannot_be_written_is_one_line(place: Path) -> None:
    (place / "file").write_text("")
    assert "cannot write" in refusal(str(place / "file" / "journal.log"), place)


def test_a_full_disk_is_one_line_and_the_study_goes_on_when_there_is_room(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    searcher = worker(place)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left on device"):
            searcher.claim(3)
    assert finish(worker(place), 3) == 3
    assert [result.state for result in worker(place).results()] == ["complete"] * 3


def test_a_locked_journal_is_one_line_after_a_while(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = worker(place)
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'ab'); fcntl.flock(f, 2); print(1, flush=1); time.sleep(60)"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, f"{journal_address(place)}.lock"], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    monkeypatch.setattr(storage, "JOURNAL_PATIENCE_S", 0.2)
    with pytest.raises(UserError, match="locked by another process"):
        searcher.claim(1)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert isinstance(searcher.claim(1), search.Claim)
