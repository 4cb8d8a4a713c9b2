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

import pytest

from directanimator.errors import UserError
from experiments.presets import PRESETS
from experiments.sweeps.registry import SWEEPS
from experiments.sweeps.search import Search
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


def test_a_database_that_is_not_there_is_one_line_without_the_password(server: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        worker(f"{server}_gone", tmp_path)
    said = str(caught.value)
    assert said.isprintable()
    assert "does not exist" in said
    assert "secret" not in said
