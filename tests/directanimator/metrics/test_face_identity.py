import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.metrics.drift import identity_drift
from directanimator.metrics.face_identity import face_recall, fis, fts, similarity
from tests.strategies import seeds


def faces(seed, count=8, missing=()):
    found = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    found[list(missing)] = np.nan
    return found


EVERY = np.ones(8, bool)


@given(seeds(), st.floats(0.1, 10))
def test_equal_faces_get_exactly_one_whatever_their_length(seed, factor):
    made = faces(seed)
    assert fis(made, made, EVERY) == 1
    assert fis(made, made * np.float32(factor), EVERY) == pytest.approx(1, abs=1e-6)
    assert fts(np.repeat(made[:1], 8, axis=0), EVERY) == 1


@given(seeds(), seeds())
def test_the_cosine_is_the_cosine_and_symmetric(first, second):
    a, b = faces(first), faces(second)
    wanted = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(similarity(a, b), wanted, atol=1e-6)
    np.testing.assert_array_equal(similarity(a, b), similarity(b, a))


@given(seeds(), seeds(), st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7)))
def test_values_stay_in_bounds_whatever_is_missing(first, second, gone, absent):
    made, right = faces(first, missing=gone), faces(second, missing=absent)
    shown = np.isfinite(right).all(axis=1)
    for value in (fis(made, right, shown), fts(made, shown), face_recall(made, shown)):
        assert math.isnan(value) or -1 <= value <= 1
    assert math.isnan(fis(made, right, shown)) == (len(absent) == 8)


@given(seeds(), st.sets(st.integers(0, 7)))
def test_a_missing_face_counts_nothing_and_is_not_skipped(seed, gone):
    right = faces(seed)
    made = faces(seed, missing=gone)
    assert fis(made, right, EVERY) == pytest.approx((8 - len(gone)) / 8)
    assert face_recall(made, EVERY) == pytest.approx((8 - len(gone)) / 8)


def test_a_frame_in_which_the_truth_shows_no_face_is_not_asked_for():
    right, made = faces(1, missing=[0, 1]), faces(1, missing=[2])
    shown = np.isfinite(right).all(axis=1)
    assert fis(made, right, shown) == pytest.approx(5 / 6)
    assert face_recall(made, shown) == pytest.approx(5 / 6)


def test_a_face_that_changes_once_breaks_one_pair_of_seven():
    made = np.zeros((8, 16), np.float32)
    made[:4, 0], made[4:, 1] = 1, 1
    assert fts(made, EVERY) == pytest.approx(6 / 7)
    made[0] = np.nan
    assert fts(made, EVERY) == pytest.approx(5 / 7)


def test_identity_that_is_lost_is_a_drift_and_what_was_wrong_from_the_start_is_not():
    assert identity_drift(np.array([1.0, 0.8, 0.9, 0.5, 0.3, 0.2, 0.3, 0.1])) == pytest.approx(0.9 - 0.2)
    assert f"{identity_drift(np.full(8, 0.3)):.3f}" == "0.000"
    assert identity_drift(np.array([0.2, 0.2, np.nan, 0, 0, 0, np.nan, 0.6])) == pytest.approx(-0.4)
    assert math.isnan(identity_drift(np.array([np.nan, np.nan, 1, 1, 1, 1, 1, 1])))
    assert math.isnan(identity_drift(np.array([1.0])))
