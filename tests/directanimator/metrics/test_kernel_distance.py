import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.metrics.kernel_distance import kernel_distance
from tests.strategies import seeds


def pair_of_sets(seed, first=6, second=9, width=4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(first, width)), rng.normal(0.5, 2, size=(second, width))


@given(seeds())
def test_it_is_the_sum_over_pairs(seed):
    first, second = pair_of_sets(seed)

    def mean(pairs):
        return np.mean([(a @ b / len(a) + 1) ** 3 for a, b in pairs])

    wanted = mean(itertools.permutations(first, 2)) + mean(itertools.permutations(second, 2))
    wanted -= 2 * mean(itertools.product(first, second))
    assert kernel_distance(first, second) == pytest.approx(wanted, rel=1e-9)


@given(seeds(), seeds())
def test_it_is_symmetric_and_blind_to_order(seed, order):
    first, second = pair_of_sets(seed)
    shuffled = np.random.default_rng(order).permutation(first)
    assert kernel_distance(shuffled, second) == pytest.approx(kernel_distance(second, first), rel=1e-9)


def test_it_is_zero_on_average_at_any_size_where_the_frechet_distance_is_not():
    rng = np.random.default_rng(3)
    for count in (4, 12):
        values = [kernel_distance(*rng.normal(size=(2, count, 5))) for _ in range(600)]
        assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))
        assert min(values) < 0 < max(values)


@given(seeds(), st.floats(2, 5))
def test_sets_of_different_mean_are_apart(seed, way):
    first = np.random.default_rng(seed).normal(size=(40, 3))
    assert kernel_distance(first, first[::-1] + way) > 0


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((1, 3)), np.zeros((4, 3)), "has 1 items"),
        (np.zeros((4, 3)), np.zeros((4, 2)), "one width"),
        (np.full((4, 3), np.inf), np.zeros((4, 3)), "not finite"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_impossible_sets_are_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance(first, second)
