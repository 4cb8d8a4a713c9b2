"""Studies on a real PostgreSQL server, which the test starts itself: the same rules as in a journal file."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from directanimator.errors import UserError
from experiments.presets import PRESETS
from experiments.sweeps.registry import SWEEPS
from experiments.sweeps.search import MOST_DEATHS, Claim, Search
from experiments.sweeps.space import Sweep, checked

USER = "postgres"
"""Debian's own; the server refuses to be started by root."""


def program(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def can_be_the_user() -> bool:
    return os.getuid() != 0 or USER in {entry.pw_name for entry in pwd.getpwall()}


pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(program("initdb") is None, reason="PostgreSQL is missing: apt-get install postgresql"),
    pytest.mark.skipif(not can_be_the_user(), reason=f"root cannot start PostgreSQL, and there is no user {USER}"),
]
SWEEP: Sweep = checked(SWEEPS["same2x"], PRESETS["smoke"].spec)


def as_user(*command: str) -> None:
    told = ["runuser", "-u", USER, "--", *command] if os.getuid() == 0 else list(command)
    done = subprocess.run(told, capture_output=True, text=True, cwd="/", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server with an empty database, gone after the tests."""
    initdb, pg_ctl = program("initdb"), program("pg_ctl")
    assert initdb is not None
    assert pg_ctl is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        os.chmod(place, 0o777)
        data = f"{place}/data"
        as_user(initdb, "-D", data, "--auth=trust", "--username=me", "--no-sync")
        options = f"-h 127.0.0.1 -p {port} -k {place} -F"
        as_user(pg_ctl, "-D", data, "-w", "-l", f"{place}/log", "-o", options, "start")
        try:
            yield f"postgresql://me:secret@127.0.0.1:{port}/postgres"
        finally:
            as_user(pg_ctl, "-D", data, "-w", "-m", "immediate", "stop")


def worker(server: str, place: Path, name: str = "study") -> Search:
    return Search(name, SWEEP.model_copy(update={"pruner": "none"}), 0, server, place)


def test_two_workers_share_a_study_and_a_dead_ones_trial_is_taken_over(server: str, tmp_path: Path) -> None:
    dead = worker(server, tmp_path).claim(8)
    assert dead is not None
    assert not isinstance(dead, str)
    dead.drop()
    searches = [worker(server, tmp_path) for _ in range(2)]

    def finish(search: Search) -> None:
        while True:
            with search.next_trial(8) as trial:
                if trial is None:
                    return
                assert trial.number or trial.edits == dead.trial.edits
                trial.complete({"cross/psnr_foreground": float(trial.edits["same2x.weight"])})

    threads = [threading.Thread(target=finish, args=(search,)) for search in searches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    results = searches[0].results()
    assert [(result.number, result.state) for result in results] == [(number, "complete") for number in range(8)]
    best = max(results, key=lambda result: result.values["cross/psnr_foreground"])
    assert [result.number for result in searches[1].best()] == [best.number]


def test_trials_of_another_machine_are_left_alone(server: str, tmp_path: Path) -> None:
    elsewhere = worker(server, tmp_path / "elsewhere", "machines").claim(2)
    assert elsewhere is not None
    assert not isinstance(elsewhere, str)
    elsewhere.drop()
    here = worker(server, tmp_path / "here", "machines")
    with here.next_trial(2) as trial:
        assert trial is not None
        assert trial.number == 1
        trial.complete({"cross/psnr_foreground": 1.0})
    assert here.claim(2) is None


def test_a_trial_that_was_left_politely_goes_on_on_another_machine(server: str, tmp_path: Path) -> None:
    left = worker(server, tmp_path / "elsewhere", "left").claim(1)
    assert isinstance(left, Claim)
    here = worker(server, tmp_path / "here", "left")
    assert here.claim(1) is None
    for _ in range(MOST_DEATHS + 1):  # which is no death, however often
        left.leave()
        taken = here.claim(1)
        assert isinstance(taken, Claim)
        assert (taken.trial.number, taken.trial.edits) == (0, left.trial.edits)
        assert worker(server, tmp_path / "elsewhere", "left").claim(1) is None
        left = taken
    left.trial.complete({"cross/psnr_foreground": 1.0})
    left.drop()
    assert [(result.number, result.state) for result in here.results()] == [(0, "complete")]


def test_of_many_machines_one_gets_a_trial_that_was_left(server: str, tmp_path: Path) -> None:
    machines = [worker(server, tmp_path / f"{number}", "crowd") for number in range(6)]
    claim = machines[0].claim(1)
    for _ in range(5):
        assert isinstance(claim, Claim)
        claim.leave()
        start, found = threading.Barrier(len(machines)), []

        def ask(machine: Search, start: threading.Barrier = start, found: list[Claim | str | None] = found) -> None:
            start.wait()
            found.append(machine.claim(1))

        threads = [threading.Thread(target=ask, args=(machine,)) for machine in machines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(found) == len(machines)
        (claim,) = [one for one in found if one is not None]


def test_a_left_trial_that_another_machine_takes_up_is_not_taken_back_before_it_is_signed(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, other = (worker(server, tmp_path / name, "handed") for name in ("here", "other"))
    left = here.claim(1)
    assert isinstance(left, Claim)
    left.leave()
    seen: list[object] = []
    signed = Search._claim

    def look_first(search: Search, *args: Any) -> Claim:
        monkeypatch.setattr(Search, "_claim", signed)
        seen.append(here.claim(1))
        return signed(search, *args)

    monkeypatch.setattr(Search, "_claim", look_first)
    assert isinstance(other.claim(1), Claim)
    assert seen == [None]


def test_a_trial_that_is_left_while_a_new_one_is_asked_for_is_taken_up_whole(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, other = (worker(server, tmp_path / name, "asked") for name in ("here", "other"))
    left = here.claim(2)
    assert isinstance(left, Claim)
    ask = Search._asked

    def leave_first(search: Search, number: int) -> Claim:
        left.leave()
        return ask(search, number)

    monkeypatch.setattr(Search, "_asked", leave_first)
    taken = other.claim(2)
    assert isinstance(taken, Claim)
    assert (taken.trial.number, taken.trial.edits) == (0, left.trial.edits)
    assert here.claim(1) is None


def test_a_database_that_is_not_there_is_one_line_without_the_password(server: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        worker(f"{server}_gone", tmp_path)
    said = str(caught.value)
    assert said.isprintable()
    assert "does not exist" in said
    assert "secret" not in said
