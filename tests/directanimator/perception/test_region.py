"""Where nets look and where their masks are laid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.perception.region import Patch, Square, View


def disk(side: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.indices((side, side)) + 0.5
    return np.where(np.hypot(columns - x, rows - y) < radius, 255, 0).astype(np.uint8)


@given(st.integers(8, 200), st.floats(0, 30), st.floats(0, 30), st.floats(60, 100))
def test_a_mask_is_laid_where_the_view_shows_it(out, left, top, extent):
    """Whether the view enlarges or shrinks it."""
    patch = Patch.of_frame(disk(128, 60, 64, 30), 128, 128)
    laid = patch.laid(View(left, top, extent, extent, out, out)) / 255
    wanted = disk(1024, (60 - left) / extent * 1024, (64 - top) / extent * 1024, 30 / extent * 1024)
    area = wanted.mean() / 255
    assert laid.mean() == pytest.approx(area, abs=2 / out + 0.02)
    if area > 0.1:
        columns = (np.arange(out) + 0.5) / out
        middle = (laid.mean(axis=0) @ columns) / laid.mean() / out
        expected = (wanted.mean(axis=0) @ ((np.arange(1024) + 0.5) / 1024)) / wanted.mean() / 1024
        assert middle == pytest.approx(expected, abs=0.03)


@given(st.integers(2, 16))
def test_fine_stripes_become_gray_when_they_are_shrunk(factor):
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    side = max(1, 64 // factor // 2)
    laid = Patch.of_frame(stripes, 64, 64).laid(View(0.0, 0.0, 64.0, 64.0, side, side))
    inner = laid[1:-1, 1:-1]
    assert not inner.size or np.abs(inner.astype(int) - 127).max() <= 8


@given(st.floats(40, 300), st.floats(60, 140), st.floats(60, 140), st.sampled_from([16, 32, 64]))
def test_a_crop_shows_the_region_at_any_scale(side, x, y, size):
    frame = np.repeat(disk(200, 100, 100, 25)[..., None], 3, axis=2)
    crop = Square.upright(np.array([x, y], np.float32), side).crop(frame, size)[..., 0]
    wanted = disk(512, (100 - x + side / 2) / side * 512, (100 - y + side / 2) / side * 512, 25 / side * 512)
    assert crop.mean() / 255 == pytest.approx(wanted.mean() / 255, abs=0.03 + 2 / size * 25 / side)


@given(st.floats(1, 50), st.floats(1, 50), st.floats(-20, 20), st.floats(-20, 20))
def test_boxes_and_points_of_a_view_agree_with_its_matrix(width, height, left, top):
    view = View(left, top, width, height, 30, 40)
    point = np.array([[7.5, 3.5]], np.float32)
    index = view.matrix() @ [7.0, 3.0, 1.0]
    np.testing.assert_allclose(view.points(point)[0], index + 0.5, atol=1e-2)
    np.testing.assert_allclose(view.boxes(np.array([[7.5, 3.5, 7.5, 3.5]], np.float32))[0, :2], index + 0.5, atol=1e-2)
