"""The browser command: which ports it takes, what it refuses."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


NOTHING = {"port": None, "studies_port": None}


def test_a_taken_usual_port_gives_way_to_the_next_free_one(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "_PORTS", {"port": taken, "studies_port": 8080})
    chosen = ui.free_ports(NOTHING)["port"]
    assert taken < chosen < taken + 50


def test_two_servers_never_get_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "_PORTS", {"port": 23000, "studies_port": 23000})
    ports = ui.free_ports(NOTHING)
    assert ports["port"] != ports["studies_port"]
    asked = ui.free_ports({"port": None, "studies_port": "23000"})
    assert asked["studies_port"] == 23000
    assert asked["port"] != 23000


def test_a_port_that_was_asked_for_and_is_taken_is_refused(taken: int) -> None:
    with pytest.raises(UserError, match=f"studies_port={taken} cannot be used"):
        ui.free_ports({"port": None, "studies_port": str(taken)})


def test_one_port_for_two_servers_is_refused() -> None:
    with pytest.raises(UserError, match="two servers need two ports"):
        ui.free_ports({"port": "23001", "studies_port": "23001"})


def test_no_free_port_at_all_is_one_line(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "_PORTS", {"port": taken, "studies_port": 8080})
    monkeypatch.setattr(ui, "_TRIED_PORTS", 1)
    with pytest.raises(UserError, match="all taken"):
        ui.free_ports(NOTHING)


@given(st.text().filter(lambda text: not (text.isascii() and text.isdigit() and 0 < int(text) < 65536)))
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="whole number from 1 to 65535"):
        ui.free_ports({"port": text, "studies_port": None})


@pytest.mark.parametrize(
    ("argument", "said"),
    [("storag=x", "storage"), ("studiesport=8080", "studies_port"), ("storage=postgrsql://h/d", "postgresql")],
)
def test_a_slip_is_one_line(argument: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ui.main([argument]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert f"did you mean {said!r}" in line


def test_where_runs_are_on_a_server_that_is_said_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host:5000")
    assert ui.main([]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert "http://host:5000 is a server" in err
    assert "secret" not in err
