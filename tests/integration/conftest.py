"""Real runs of the smallest preset, each in a process of its own, as a user would start them."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import mkdtemp

import psutil
import pytest

from tests.integration.commands import Command

TIMEOUT = 300
SAVE_EVERY_STEP = (
    "import sys, experiments.stage as stage; stage.CHECKPOINT_SECONDS = 0.0\n"
    "from experiments.command_line import run_main; from experiments.run import main; run_main(main)"
)
"""The run command, but with a checkpoint after every step."""


@dataclass(frozen=True)
class Workplace:
    """A directory of runs, and commands that use it."""

    root: Path

    def environment(self, **extra: str) -> dict[str, str]:
        return {**os.environ, "DIRECTANIMATOR_RUNS": str(self.root), "OMP_NUM_THREADS": "1", **extra}

    def begin(self, *words: str, **extra: str) -> Command:
        """`python WORDS`, begun."""
        return Command(words, self.environment(**extra), Path(mkdtemp(prefix="output-", dir=self.root)))

    def call(self, *words: str, **extra: str) -> CompletedProcess[str]:
        return self.begin(*words, **extra).completed(TIMEOUT)

    def run(self, *words: str, **extra: str) -> CompletedProcess[str]:
        return self.call("-m", "experiments.run", *words, **extra)

    def start(self, *words: str) -> Command:
        return self.begin("-c", SAVE_EVERY_STEP, *words)

    def call_from_nothing(self, *words: str) -> None:
        """Ends well, in a process that shares nothing with another: what others are compared with."""
        command = [sys.executable, *words]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=TIMEOUT)
        assert done.returncode == 0, done.stderr

    def stage(self, name: str) -> Path:
        """The one run directory of a stage."""
        (found,) = (self.root / "runs").glob(f"{name}-*")
        return found

    def students(self) -> list[Path]:
        """The run directories of all cross-ID stages."""
        return sorted((self.root / "runs").glob("cross_id-*"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace in which the smallest preset has run to its end."""
    place = Workplace(tmp_path_factory.mktemp("finished"))
    place.call_from_nothing("-m", "experiments.run", "preset=smoke")
    return place


@dataclass(frozen=True)
class Swept(Workplace):
    """A workplace in which a study was searched by two workers, and one of them was killed in the middle of a trial."""

    output: str
    status: int
    killed: bool


SWEEP = ("sweep=same2x", "preset=smoke", "pruner=none", "trials=4", "workers=2")


@pytest.fixture(scope="session")
def swept(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Shares the prepared clips of the finished run."""
    root = tmp_path_factory.mktemp("swept")
    (root / "cache").symlink_to(finished.root / "cache")
    shutil.copy(finished.root / "mlflow.db", root / "mlflow.db")
    place = Workplace(root)
    command = [sys.executable, "-m", "experiments.sweep", *SWEEP]
    driver = subprocess.Popen(
        command, env=place.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    killed = _kill_a_worker_within_a_trial(place, driver)
    output, _ = driver.communicate(timeout=TIMEOUT)
    return Swept(root, output, driver.returncode, killed)


def _kill_a_worker_within_a_trial(place: Workplace, driver: subprocess.Popen[str]) -> bool:
    """Once a trial's training has begun, SIGKILL goes to the process that holds its lock."""
    deadline = time.monotonic() + TIMEOUT
    while driver.poll() is None and time.monotonic() < deadline:
        if any(run.joinpath("metrics.jsonl").exists() for run in place.students()):
            for child in psutil.Process(driver.pid).children():
                held = [Path(file.path).name for file in child.open_files()]
                if any(name.startswith("trial_") for name in held):
                    child.kill()
                    return True
        time.sleep(0.02)
    return False


@pytest.fixture
def fresh(finished: Workplace, tmp_path: Path) -> Callable[[], Workplace]:
    """Makes workplaces without runs that share the prepared clips, which take longest."""

    def make() -> Workplace:
        place = Workplace(tmp_path / f"place-{len(list(tmp_path.iterdir()))}")
        place.root.mkdir()
        shutil.copytree(finished.root / "cache", place.root / "cache")
        shutil.copy(finished.root / "mlflow.db", place.root / "mlflow.db")
        return place

    return make
