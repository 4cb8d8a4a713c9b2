import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.data.synthetic import pair_at, render_clip
from directanimator.data.synthetic_items import track_of
from directanimator.metrics.landmarks import flc, landmark_recall, plc
from tests.strategies import seeds

SIZE = (100, 200)
SIDES = st.integers(16, 2000)


def points(seed, frames=3, count=13, missing=()):
    found = np.random.default_rng(seed).uniform(0, 100, (frames, count, 2)).astype(np.float32)
    for frame, point in missing:
        found[frame, point] = np.nan
    return found


@given(seeds(), st.sampled_from(["image", "person"]))
def test_equal_landmarks_have_no_distance(seed, normalizer):
    assert plc(points(seed), points(seed), SIZE, SIZE, normalizer) == 0
    assert flc(points(seed), points(seed)) == 0


@given(seeds(), seeds(), st.sampled_from(["image", "person"]))
def test_the_order_of_the_two_does_not_matter(first, second, normalizer):
    a, b = points(first), points(second)
    assert plc(a, b, SIZE, SIZE, normalizer) == pytest.approx(plc(b, a, SIZE, SIZE, normalizer))
    assert flc(a, b) == pytest.approx(flc(b, a))


@given(seeds(), seeds(), SIDES, SIDES, st.sampled_from(["image", "person"]))
def test_the_size_of_the_frames_does_not_matter(first, second, height, width, normalizer):
    """A square factor for the person's own measure, any resizing for the image's."""
    a, b = points(first), points(second)
    wanted = plc(a, b, (100, 100), (100, 100), normalizer)
    factor = np.array([width / 100, (height if normalizer == "image" else width) / 100], np.float32)
    assert plc(a * factor, b, (height, width), (100, 100), normalizer) == pytest.approx(wanted, rel=1e-3, abs=1e-5)


@given(seeds(), seeds(), st.floats(0.2, 8), st.floats(-300, 300), st.floats(-300, 300))
def test_neither_place_nor_size_of_the_face_matters(first, second, scale, dx, dy):
    a, b = points(first, count=20), points(second, count=20)
    moved = (a * np.float32(scale) + np.array([dx, dy], np.float32)).astype(np.float32)
    assert flc(moved, b) == pytest.approx(flc(a, b), rel=1e-2, abs=1e-4)


@given(seeds(), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4))
def test_a_shift_is_the_distance_for_the_image_and_none_for_the_person(seed, dx, dy):
    a = points(seed)
    moved = a + np.array([dx * 200, dy * 100], np.float32)
    assert plc(a, moved, SIZE, SIZE) == pytest.approx(math.hypot(dx, dy), abs=1e-5)
    assert plc(a, moved, SIZE, SIZE, "person") == pytest.approx(0, abs=1e-5)


def test_what_is_not_seen_in_both_is_left_out_and_counted():
    a, b = points(1, missing=[(0, 0), (1, 4)]), points(1, missing=[(2, 7)])
    assert plc(a, b, SIZE, SIZE) == 0
    assert landmark_recall(a, b) == pytest.approx(36 / 38)
    assert landmark_recall(b, a) == pytest.approx(36 / 37)


def test_nobody_has_no_value():
    nobody = np.full((3, 13, 2), np.nan, np.float32)
    assert math.isnan(plc(nobody, points(0), SIZE, SIZE))
    assert math.isnan(flc(nobody, points(0)))
    assert landmark_recall(nobody, points(0)) == 0
    assert math.isnan(landmark_recall(points(0), nobody))


def test_on_synthetic_humans_the_driver_of_the_motion_is_nearer_than_a_later_frame():
    """Ground truth: two people in one motion, and the same people half a second apart."""
    pair = pair_at("test", 3, 9, 8.0)
    shared = (pair.motion, pair.scene, pair.times, 32, pair.view, 1)
    first, second = (track_of(render_clip(who, *shared)).landmarks for who in (pair.identity, pair.driver))
    together = plc(first, second, (32, 32), (32, 32), "person")
    apart = plc(first[:5], second[4:], (32, 32), (32, 32), "person")
    assert together < apart
