"""`python -m experiments.ui [port=5000] [studies_port=8080] [storage=URL]`: every run and every study, in the browser.

MLflow and the Optuna dashboard, for this machine only; Ctrl-C ends both."""

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from directanimator.command import DEBUG, Stopped, ended_by_signals
from directanimator.errors import UserError
from directanimator.places import mlruns_root
from directanimator.words import check_options, read_words, whole
from experiments.command_line import run_main
from experiments.sweeps.space import journal_address
from experiments.tracking.address import EXPERIMENT, artifact_root, default_uri, public_uri
from experiments.tracking.comparison_page import prepared_page
from experiments.tracking.server import prepare

USAGE = """usage: python -m experiments.ui [port=5000] [studies_port=8080] [storage=URL]

  port, studies_port  where MLflow and the Optuna dashboard answer; left out, the first free one from the usual on
  storage             the studies to show: a journal file, sqlite:///FILE or postgresql://...

options
  --debug  show the traceback of an error
  --help   print this text"""
OPTIONS = (DEBUG, "--help")
_HOST = "127.0.0.1"
_PORTS = {"port": 5000, "studies_port": 8080}
_STORAGE = "storage"
_TRIED_PORTS = 50
_POLL_S = 0.2
_ENOUGH_S = 10.0
"""What a server gets to end politely."""


def main(tokens: Sequence[str]) -> int:
    """Exit status: 0 after Ctrl-C, or that of the server that ended by itself.

    Raises: UserError for bad input, or if runs or studies cannot be shown."""
    if "--help" in tokens:
        print(USAGE)
        return 0
    check_options(tokens, OPTIONS)
    words = read_words(tokens, (*_PORTS, _STORAGE))
    ports = free_ports(words)
    studies = mlruns_root() / "optuna"
    address = words.get(_STORAGE, journal_address(studies))
    check_studies(address)
    _check_runs_are_here(default_uri(), address)
    uri = prepare(default_uri())
    print(f"MLflow            http://{_HOST}:{ports['port']}   runs, curves, videos, models")
    page = prepared_page(uri, EXPERIMENT)
    if page is not None:
        print(f"variants          http://{_HOST}:{ports['port']}/{page}   finished runs by variant, means over seeds")
    print(f"Optuna dashboard  http://{_HOST}:{ports['studies_port']}   studies and trials", flush=True)
    try:
        with (
            ended_by_signals(),
            _mlflow(uri, ports["port"]) as mlflow,
            _dashboard(address, studies, ports["studies_port"]) as dashboard,
        ):
            return _watched(mlflow, dashboard, ports)
    except Stopped:
        return 0


def check_studies(address: str) -> None:
    """Nothing; a journal of studies is there afterwards, be it empty.

    Raises: UserError if the storage cannot be used."""
    from experiments.sweeps.storage import open_storage

    open_storage(address)


def _check_runs_are_here(uri: str, studies: str) -> None:
    if artifact_root(uri) is None:
        raise UserError(
            f"MLFLOW_TRACKING_URI={public_uri(uri)} is a server: browse the runs there, and the studies by "
            f"optuna-dashboard {public_uri(studies)}; or unset it to see the runs that this machine keeps"
        )


def server_command(uri: str, port: int) -> list[str]:
    """The command line of an MLflow server that serves `uri` on this machine alone."""
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", uri, "--default-artifact-root", str(artifact_root(uri))),
    ]


def free_ports(words: Mapping[str, str]) -> dict[str, int]:
    """A port of this machine per server: the one that the words ask for, else the first free one from the usual number
    on.

    Raises: UserError for a port that is asked for and illegal, taken, or asked for twice."""
    chosen: dict[str, int] = {}
    for name in _PORTS:
        if name in words:
            chosen[name] = _asked_port(words, name)
    if len(set(chosen.values())) < len(chosen):
        raise UserError(f"{' and '.join(chosen)} are the same; two servers need two ports")
    for name in [name for name in _PORTS if name not in chosen]:
        candidates = range(_PORTS[name], _PORTS[name] + _TRIED_PORTS)
        free = (port for port in candidates if port not in chosen.values() and _problem_with(port) is None)
        found = next(free, None)
        if found is None:
            tried = f"ports {candidates[0]} to {candidates[-1]}"
            raise UserError(f"{tried} are all taken; choose another with {name}=NUMBER")
        chosen[name] = found
    return chosen


def _asked_port(words: Mapping[str, str], name: str) -> int:
    port = whole(words, name, _PORTS[name], 1, 65535)
    problem = _problem_with(port)
    if problem is not None:
        raise UserError(f"{name}={port} cannot be used: {problem}; choose another one, or leave it out")
    return port


def _problem_with(port: int) -> str | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as problem:
            return str(problem.strerror)
    return None


def _watched(mlflow: "subprocess.Popen[bytes]", dashboard: BaseProcess, ports: dict[str, int]) -> int:
    """The status of the server that ends first; says when both answer."""
    ready = False
    while True:
        for name, status in (("MLflow", mlflow.poll()), ("the Optuna dashboard", dashboard.exitcode)):
            if status is not None:
                print(f"{name} ended with status {status}; MLflow's log is {_log_file()}", file=sys.stderr)
                return status or 1
        if not ready and all(map(_answers, ports.values())):
            ready = True
            print("ready; Ctrl-C ends both", flush=True)
        time.sleep(_POLL_S)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((_HOST, port), timeout=_POLL_S):
        return True
    return False


def _log_file() -> Path:
    return mlruns_root() / "mlflow_server.log"


@contextlib.contextmanager
def _mlflow(uri: str, port: int) -> "Iterator[subprocess.Popen[bytes]]":
    """A block in which MLflow is served, by a group of processes that end with it; what it says goes to a file."""
    log = _log_file()
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("wb") as said,
        subprocess.Popen(
            server_command(uri, port), env=_environment(), start_new_session=True, stdout=said, stderr=said
        ) as server,
    ):
        try:
            yield server
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(server.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(_ENOUGH_S)


@contextlib.contextmanager
def _dashboard(address: str, place: Path, port: int) -> Iterator[BaseProcess]:
    """A block in which the Optuna dashboard is served, by a process that ends with it."""
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(address, place, port), daemon=True)
    server.start()
    try:
        yield server
    finally:
        server.terminate()
        server.join(_ENOUGH_S)


def _serve(address: str, place: Path, port: int) -> None:
    from experiments.sweeps.storage import serve_dashboard

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends this process
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # a line for every request
        serve_dashboard(address, place, _HOST, port)


def _environment() -> dict[str, str]:
    return os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


if __name__ == "__main__":
    run_main(main)
