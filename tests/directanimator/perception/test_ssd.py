"""Anchors, decoding and the blending of overlapping boxes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.perception.ssd import AnchorGrid, Detections, blend, decode, intersection_over_union, sigmoid


def detections(boxes: list[list[float]], scores: list[float]) -> Detections:
    array = np.array(boxes, np.float32)
    return Detections(array, array[:, None, :2].copy(), np.array(scores, np.float32))


@pytest.mark.parametrize(
    ("grid", "count"),
    [
        (AnchorGrid(128, ((8, 2), (16, 6))), 896),
        (AnchorGrid(192, ((4, 1),)), 2304),
        (AnchorGrid(224, ((8, 2), (16, 2), (32, 6))), 2254),
    ],
)
def test_the_grids_have_as_many_anchors_as_the_nets_have_outputs(grid: AnchorGrid, count: int) -> None:
    centers = grid.centers
    assert centers.shape == (count, 2)
    np.testing.assert_allclose(centers.mean(axis=0), [0.5, 0.5], atol=1e-4)


def test_anchors_run_along_rows_first() -> None:
    np.testing.assert_allclose(
        AnchorGrid(4, ((2, 1),)).centers, [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    )


def test_decoding_adds_the_anchor_and_divides_by_the_size() -> None:
    grid = AnchorGrid(4, ((2, 1),))
    raw = np.zeros((4, 6), np.float32)
    raw[1] = [0.4, 0.8, 2, 1, -1, 0]
    found = decode(raw, np.array([-9, 9, -9, -9], np.float32), grid, 0.5)
    np.testing.assert_allclose(found.boxes, [[0.6, 0.325, 1.1, 0.575]], atol=1e-6)
    np.testing.assert_allclose(found.points, [[[0.5, 0.25]]], atol=1e-6)


def test_decoding_nothing_gives_nothing() -> None:
    found = decode(np.zeros((4, 16), np.float32), np.full(4, -9, np.float32), AnchorGrid(4, ((2, 1),)), 0.5)
    assert found.boxes.shape == (0, 4)
    assert found.points.shape == (0, 6, 2)


def test_overlapping_boxes_become_their_weighted_mean() -> None:
    found = blend(detections([[0, 0, 1, 1], [0, 0, 1, 0.8]], [0.9, 0.3]))
    np.testing.assert_allclose(found.boxes, [[0, 0, 1, 0.95]], atol=1e-6)
    np.testing.assert_allclose(found.scores, [0.9])


def test_boxes_apart_stay_apart() -> None:
    found = blend(detections([[0, 0, 0.4, 0.4], [0.6, 0.6, 1, 1]], [0.9, 0.8]))
    np.testing.assert_allclose(found.boxes, [[0, 0, 0.4, 0.4], [0.6, 0.6, 1, 1]])


corner = st.floats(0, 0.5, width=32)
extent = st.floats(0.0625, 0.5, width=32)
boxes = st.tuples(corner, corner, extent, extent).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])


@given(boxes, boxes)
def test_intersection_over_union_is_symmetric_and_bounded(a: list[float], b: list[float]) -> None:
    first, second = np.array(a, np.float32), np.array(b, np.float32)
    there = intersection_over_union(first, second[None]).item()
    assert there == pytest.approx(intersection_over_union(second, first[None]).item(), abs=1e-6)
    assert 0 <= there <= 1 + 1e-6
    assert intersection_over_union(first, first[None]).item() == pytest.approx(1)


@given(st.lists(st.tuples(boxes, st.floats(0.5, 1, width=32)), min_size=1, max_size=12))
def test_blending_keeps_the_best_score_and_adds_no_box(found: list[tuple[list[float], float]]) -> None:
    ordered = sorted(found, key=lambda pair: -pair[1])
    blended = blend(detections([box for box, _ in ordered], [score for _, score in ordered]))
    assert 1 <= len(blended) <= len(found)
    assert blended.scores[0] == np.float32(ordered[0][1])


@given(st.floats(-1e6, 1e6, width=32))
def test_the_logistic_function_never_overflows(logit: float) -> None:
    low, high = sigmoid(np.array([-abs(logit), abs(logit)], np.float32))
    assert 0 <= low <= 0.5 <= high <= 1
    assert low + high == pytest.approx(1, abs=1e-6)
