"""A worker that does nothing; a module of its own, so that a process that runs it imports little."""

import os
import time
from pathlib import Path


def asleep(_tokens: list[str]) -> None:
    """Stands where a worker would, and leaves a file by its number."""
    Path(os.environ["DIRECTANIMATOR_RUNS"], f"asleep-{os.getpid()}").touch()
    time.sleep(120)
