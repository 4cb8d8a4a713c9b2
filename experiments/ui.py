"""`python -m experiments.ui [port=5000]`: every run so far, in the browser, for this machine only."""

import os
import socket
import subprocess
import sys

from directanimator.errors import UserError, did_you_mean
from experiments.tracking import artifact_root, default_uri, prepare

_HOST = "127.0.0.1"


def main(arguments: list[str]) -> int:
    """The exit status of the server, which runs until it is interrupted; 2 after a line on stderr for bad input."""
    try:
        port = _port(arguments)
        uri = prepare(default_uri())
        _refuse_taken(port)
    except UserError as problem:
        print(problem, file=sys.stderr)
        return 2
    print(f"MLflow: http://{_HOST}:{port}", flush=True)
    with subprocess.Popen(server_command(uri, port), env=_environment()) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()
            return 0


def server_command(uri: str, port: int) -> list[str]:
    """The command line of an MLflow server that serves `uri` on this machine alone."""
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", uri, "--default-artifact-root", str(artifact_root(uri))),
    ]


def _port(arguments: list[str]) -> int:
    port = 5000
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name != "port":
            raise UserError(f"unknown argument {argument!r}; legal: port=NUMBER{did_you_mean(name, ['port'])}")
        if not value.isascii() or not value.isdigit() or not 0 < int(value) < 65536:
            raise UserError(f"port={value} is not legal; use a whole number from 1 to 65535")
        port = int(value)
    return port


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as problem:
            raise UserError(
                f"port {port} cannot be used: {problem.strerror}; choose another with port=NUMBER"
            ) from problem


def _environment() -> dict[str, str]:
    return os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
