"""Memory of a piece of work is that of the work alone."""

import os

import numpy as np
import pytest

from experiments.benchmarks.process_memory import alone, peak_resident_bytes, resident_bytes

MB = 1_000_000


def grown(held: int, passing: int) -> tuple[int, int]:
    """What bytes that stay and bytes that go add to what is resident, and to the most that ever was."""
    before = resident_bytes()
    kept = np.ones(held, np.uint8)
    np.ones(passing, np.uint8)
    return resident_bytes() - before + 0 * int(kept[0]), peak_resident_bytes() - before


def test_what_is_held_and_what_passes_are_told_apart() -> None:
    burden = np.ones(300 * MB, np.uint8)  # the parent's, which is not to be in it
    held, peak = alone(grown, 40 * MB, 60 * MB)
    assert held == pytest.approx(40 * MB, abs=3 * MB)
    assert peak == pytest.approx(100 * MB, abs=3 * MB)
    assert burden[-1] == 1


def test_the_parents_environment_is_as_before() -> None:
    before = dict(os.environ)
    assert alone(os.getpid) != os.getpid()
    assert dict(os.environ) == before
