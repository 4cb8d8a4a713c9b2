import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.metrics import kernel_distance as module
from directanimator.metrics.kernel_distance import kernel_distance
from tests.strategies import seeds

FRAMES = st.lists(st.integers(1, 4), min_size=2, max_size=5)


def clips_of(rng, frames, width=4, mean=0.0, spread=1.0):
    """Clips of some frames each, whose frames are alike."""
    return [rng.normal(mean, spread, width) + 0.2 * rng.normal(size=(count, width)) for count in frames]


@given(seeds(), FRAMES, FRAMES, st.booleans())
def test_it_is_the_sum_over_pairs_of_different_clips(seed, frames, others, paired):
    rng = np.random.default_rng(seed)
    first = clips_of(rng, frames)
    second = clips_of(rng, frames if paired else others, mean=0.5, spread=2)

    def mean(one, other, apart):
        pairs = itertools.product(enumerate(one), enumerate(other))
        return np.mean(
            [(a @ b / len(a) + 1) ** 3 for (i, x), (j, y) in pairs if i != j or not apart for a in x for b in y]
        )

    wanted = mean(first, first, True) + mean(second, second, True) - 2 * mean(first, second, paired)
    assert kernel_distance(first, second, paired) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


@given(seeds(), FRAMES, st.integers(1, 30))
def test_it_is_the_same_whatever_is_held_at_once(seed, frames, rows):
    rng = np.random.default_rng(seed)
    first, second = clips_of(rng, frames), clips_of(rng, frames, mean=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROWS_AT_ONCE", rows)
        parts = kernel_distance(first, second)
    assert parts == pytest.approx(kernel_distance(first, second), rel=1e-9, abs=1e-9)


def test_what_is_held_at_once_grows_with_the_frames_not_with_their_square():
    def peak(clips):
        rng = np.random.default_rng(0)
        sets = [[rng.normal(size=(64, 8)) for _ in range(clips)] for _ in range(2)]
        tracemalloc.start()
        kernel_distance(*sets)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(64) <= 3 * peak(32)


@given(seeds(), FRAMES, seeds())
def test_it_is_symmetric_and_blind_to_order(seed, frames, order):
    rng = np.random.default_rng(seed)
    first, second = clips_of(rng, frames), clips_of(rng, frames, mean=0.5)
    mixed = np.random.default_rng(order).permutation(len(frames))
    again = kernel_distance([second[k] for k in mixed], [first[k] for k in mixed])
    assert again == pytest.approx(kernel_distance(first, second), rel=1e-9, abs=1e-9)


@given(seeds(), FRAMES)
def test_equal_sets_are_at_nothing(seed, frames):
    first = clips_of(np.random.default_rng(seed), frames)
    assert kernel_distance(first, first) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize("paired", [True, False])
def test_it_is_zero_on_average_however_few_the_clips_and_many_their_frames(frames, paired):
    """Paired ones: each of two answers to a clip shares half of what it shows with the other."""
    rng = np.random.default_rng(3)
    for count in (4, 12):
        values = []
        for _ in range(400):
            shared = rng.normal(size=(count, 1, 5)) if paired else 0
            sets = [list(shared + rng.normal(size=(count, 1, 5)) + 0.2 * rng.normal(size=(count, frames, 5)))
                    for _ in range(2)]  # fmt: skip
            values.append(kernel_distance(*sets, paired=paired))
        assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))
        assert min(values) < 0 < max(values)


@given(seeds(), st.floats(2, 5), st.booleans())
def test_sets_of_different_mean_are_apart(seed, way, paired):
    first = clips_of(np.random.default_rng(seed), [1] * 40, width=3)
    assert kernel_distance(first, [clip + way for clip in first[::-1]], paired) > 0


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([np.zeros((4, 3))], [np.zeros((4, 3))] * 2, "has 1 clips"),
        ([np.zeros((4, 3)), np.zeros((0, 3))], [np.zeros((4, 3))] * 2, "has 1 clips"),
        ([np.zeros((4, 3))] * 3, [np.zeros((4, 3))] * 2, "same clips, got 3 and 2"),
        ([np.zeros((4, 3))] * 2, [np.zeros((4, 2))] * 2, "one width"),
        ([np.full((4, 3), np.inf)] * 2, [np.zeros((4, 3))] * 2, "not finite"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_impossible_sets_are_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance(first, second)
