"""Commands as a person types them, in forks that have imported already.

Only what runs while a module is imported is not run again, and the seed of hashes is shared: what others are compared
with is therefore made in a process that begins from nothing."""

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

from tests.forked import forks


class Command:
    """`python WORDS` that has begun; its output goes to two files of a directory."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], directory: Path) -> None:
        self._words = list(words)
        self._outputs = directory / "stdout", directory / "stderr"
        self._process = forks().Process(target=_become, args=(words, dict(environment), *self._outputs))
        self._process.start()

    def poll(self) -> int | None:
        """The exit status, minus the signal where one killed it; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """To this process alone."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self, timeout: float) -> int:
        """The exit status. Raises: TimeoutExpired, once it has been killed."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutExpired(self._words, timeout, *(path.read_bytes() for path in self._outputs))
        return self._process.exitcode

    def completed(self, timeout: float) -> CompletedProcess[str]:
        """Status and output, once it has ended."""
        status = self.wait(timeout)
        return CompletedProcess(self._words, status, *(path.read_text() for path in self._outputs))


def _become(words: Sequence[str], environment: Mapping[str, str], stdout: Path, stderr: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    option, code, *arguments = words
    sys.argv = [option if option == "-c" else code, *arguments]
    if option == "-m":
        runpy.run_module(code, run_name="__main__", alter_sys=True)
    else:
        exec(code, {"__name__": "__main__"})
