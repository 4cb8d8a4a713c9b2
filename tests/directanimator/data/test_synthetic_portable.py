"""What is worked out without BLAS is what BLAS would say, but for the last bits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from directanimator.data.synthetic.portable import times, turned, weighted_sum

NUMBERS = st.floats(-10, 10, width=32)


def stacks(count: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, (count, 3, 3), elements=NUMBERS)


@given(stacks(4), stacks(4), arrays(np.float64, 3, elements=NUMBERS))
def test_products_are_those_of_matrices(first: np.ndarray, second: np.ndarray, vector: np.ndarray) -> None:
    np.testing.assert_allclose(times(first, second), first @ second, atol=1e-9)
    np.testing.assert_allclose(times(first, second[0]), first @ second[0], atol=1e-9)
    np.testing.assert_allclose(turned(first, vector), first @ vector, atol=1e-9)


@given(arrays(np.float32, 5, elements=NUMBERS), arrays(np.float32, (5, 7, 3), elements=NUMBERS))
def test_a_weighted_sum_keeps_shape_and_precision(weights: np.ndarray, values: np.ndarray) -> None:
    found = weighted_sum(weights, values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.tensordot(weights, values, 1), atol=1e-3)
