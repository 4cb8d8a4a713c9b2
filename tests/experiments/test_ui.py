"""The browser command: which ports it takes, what it refuses."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from directanimator.command import run_command
from directanimator.errors import UserError
from experiments import ui


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path))


def test_a_taken_usual_port_gives_way_to_the_next_free_one(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "_PORTS", {"port": taken, "studies_port": 8080})
    chosen = ui.free_ports({})["port"]
    assert taken < chosen < taken + 50


def test_two_servers_never_get_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "_PORTS", {"port": 23000, "studies_port": 23000})
    ports = ui.free_ports({})
    assert ports["port"] != ports["studies_port"]
    asked = ui.free_ports({"studies_port": "23000"})
    assert asked["studies_port"] == 23000
    assert asked["port"] != 23000


def test_a_port_that_was_asked_for_and_is_taken_is_refused(taken: int) -> None:
    with pytest.raises(UserError, match=f"studies_port={taken} cannot be used"):
        ui.free_ports({"studies_port": str(taken)})


def test_one_port_for_two_servers_is_refused() -> None:
    with pytest.raises(UserError, match="two servers need two ports"):
        ui.free_ports({"port": "23001", "studies_port": "23001"})


def test_no_free_port_at_all_is_one_line(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "_PORTS", {"port": taken, "studies_port": 8080})
    monkeypatch.setattr(ui, "_TRIED_PORTS", 1)
    with pytest.raises(UserError, match="all taken"):
        ui.free_ports({})


@given(st.text().filter(lambda text: not (text.isascii() and text.isdigit() and 0 < int(text) < 65536)))
@example("00000000165536")
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"want a whole number 1\.\.65535"):
        ui.free_ports({"port": text})


def test_the_help_says_how_to_call_it_and_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(ui.main, ["--help"]) == 0
    shown = capsys.readouterr()
    assert all(f"{key}=" in shown.out for key in ("port", "studies_port", "storage"))
    assert not shown.err


def test_an_error_shows_where_it_came_from_when_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(ui.main, ["port=0", "--debug"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "error: port=0: want a whole number 1..65535" in said


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("storag=x", "storage"),
        ("studiesport=8080", "studies_port"),
        ("storage=postgrsql://h/d", "postgresql"),
        ("--hlep", "--help"),
    ],
)
def test_a_slip_is_one_line(argument: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(ui.main, [argument]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert f"did you mean {said!r}" in line


def test_where_runs_are_on_a_server_that_is_said_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host:5000")
    assert run_command(ui.main, []) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert "http://host:5000 is a server" in err
    assert "secret" not in err
