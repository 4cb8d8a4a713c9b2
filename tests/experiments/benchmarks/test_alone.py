"""Memory of a piece of work is that of the work alone."""

import os

import numpy as np
import pytest

from directanimator.process_memory import forget_peak, peak_resident_bytes, resident_bytes
from experiments.benchmarks.alone import alone

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


def peaks(passing: int, later: int) -> tuple[int, int]:
    """What is most after bytes that went, and after fewer ones that went once the peak was forgotten."""
    before = resident_bytes()
    np.ones(passing, np.uint8)
    first = peak_resident_bytes() - before
    forget_peak()
    np.ones(later, np.uint8)
    return first, peak_resident_bytes() - before


def test_a_peak_that_is_forgotten_is_that_of_what_comes_after() -> None:
    first, second = alone(peaks, 90 * MB, 50 * MB)
    assert first == pytest.approx(90 * MB, abs=3 * MB)
    assert second == pytest.approx(50 * MB, abs=3 * MB)


def test_the_parents_environment_is_as_before() -> None:
    before = dict(os.environ)
    assert alone(os.getpid) != os.getpid()
    assert dict(os.environ) == before
