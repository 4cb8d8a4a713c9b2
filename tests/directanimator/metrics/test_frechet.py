import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from directanimator.metrics.frechet import frechet_distance, small_sample_bias
from tests.strategies import seeds


@st.composite
def feature_sets(draw, most=40):
    """Two sets of any size and one width, of different mean and spread; often fewer items than dimensions."""
    rng = np.random.default_rng(draw(seeds()))
    width = draw(st.integers(1, 24))
    sets = []
    for _ in range(2):
        mixing = rng.normal(size=(width, width)) * draw(st.floats(0.1, 5))
        sets.append(rng.normal(size=(draw(st.integers(2, most)), width)) @ mixing + rng.normal(size=width))
    return sets


def by_matrix_root(first, second):
    """The formula as the literature writes it, by SciPy."""
    covariances = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1])
    gap = first.mean(axis=0) - second.mean(axis=0)
    return gap @ gap + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root).real


@given(seeds(), st.integers(1, 12), st.integers(30, 60))
def test_the_distance_is_the_one_by_matrix_roots(seed, width, count):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(count, width)), rng.normal(1, 2, size=(count + 5, width))
    assert frechet_distance(first, second) == pytest.approx(by_matrix_root(first, second), rel=1e-4)


def test_gaussians_with_known_distance():
    """Points at +-a on each axis have the covariance 2 a^2 / (2 d - 1) times the identity."""
    width = 5
    corners = np.concatenate([np.eye(width), -np.eye(width)])
    variance = 2 / (2 * width - 1)
    found = frechet_distance(corners, 3 * corners + 2)
    assert found == pytest.approx(width * 4 + width * variance * (3 - 1) ** 2)


@given(feature_sets())
def test_equal_sets_have_no_distance(sets):
    assert frechet_distance(sets[0], sets[0].copy()) == 0


@given(feature_sets())
def test_the_distance_is_symmetric_and_not_negative(sets):
    there, back = frechet_distance(*sets), frechet_distance(*sets[::-1])
    assert there == pytest.approx(back, rel=1e-9, abs=1e-9)
    assert there >= 0


@given(feature_sets(), seeds())
def test_the_order_of_clips_does_not_matter(sets, seed):
    shuffled = np.random.default_rng(seed).permutation(sets[0])
    assert frechet_distance(shuffled, sets[1]) == pytest.approx(frechet_distance(*sets), rel=1e-9, abs=1e-9)


@given(feature_sets(), st.floats(-3, 3))
def test_moving_one_set_adds_the_square_of_the_way(sets, way):
    first = sets[0]
    moved = frechet_distance(first, first + way)
    assert moved == pytest.approx(first.shape[1] * way**2, rel=1e-6, abs=1e-8)


@given(feature_sets(), st.integers(2, 6))
def test_copies_of_the_sets_change_the_distance_by_no_more_than_the_covariance_does(sets, copies):
    """The unbiased covariance of n items shrinks by at most (n - 1) / n when they are repeated."""
    once = frechet_distance(*sets)
    repeated = frechet_distance(*(np.tile(features, (copies, 1)) for features in sets))
    smallest = min(len(features) for features in sets)
    spread = sum(float(features.var(axis=0, ddof=1).sum()) for features in sets)
    assert abs(once - repeated) <= spread / smallest * 2 + 1e-9


@given(seeds(), st.sampled_from([np.float32, np.float64]))
def test_the_arithmetic_is_double(seed, kind):
    first = np.random.default_rng(seed).normal(1e4, 1, size=(20, 6)).astype(kind)
    second = first[:, ::-1]
    wanted = frechet_distance(first.astype(np.float64), second.astype(np.float64))
    assert frechet_distance(first, second) == wanted


@pytest.mark.parametrize(
    ("count", "frames", "width"), [(32, 1, 200), (64, 1, 200), (200, 1, 40), (48, 9, 64), (24, 20, 64)]
)
def test_the_estimated_bias_is_near_the_distance_of_two_independent_sets(count, frames, width):
    """However alike the frames of a clip are: what they share is no further clip."""
    rng = np.random.default_rng(7)
    scale = np.linspace(3, 0.2, width)

    def clips():
        return list(scale * (rng.normal(size=(count, 1, width)) + 0.2 * rng.normal(size=(count, frames, width))))

    pairs = [(clips(), clips()) for _ in range(4)]
    truth = np.mean([frechet_distance(*map(np.concatenate, pair)) for pair in pairs])
    assert np.mean([small_sample_bias(first) for first, _ in pairs]) == pytest.approx(truth, rel=0.25)


def test_too_few_clips_have_no_estimate():
    assert np.isnan(small_sample_bias([np.zeros((5, 3))] * 7))
    assert np.isnan(small_sample_bias([np.zeros((5, 3))] * 7 + [np.zeros((0, 3))]))
    assert small_sample_bias([np.ones((1, 3))] * 8) == 0


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((1, 3)), np.zeros((4, 3)), "first set has 1 items"),
        (np.zeros((4, 3)), np.zeros((0, 3)), "second set has 0 items"),
        (np.zeros((4, 3)), np.zeros((4, 2)), "one width"),
        (np.zeros((4, 3)), np.full((4, 3), np.nan), "second set holds features that are not finite"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_impossible_sets_are_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(first, second)
