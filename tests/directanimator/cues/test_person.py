from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from directanimator.cues.canvas import height_width
from tests.strategies import Figure, canvas_sides, figures, soft_masks, track_of, walks


@given(walks(), canvas_sides())
def test_resizing_keeps_frames_and_sets_the_size(clip, side):
    track = track_of(clip, 40).resized((side, 2 * side))
    assert (track.num_frames, track.size) == (len(clip), (side, 2 * side))


@given(figures())
def test_resizing_moves_boxes_with_the_picture(figure):
    small, large = track_of([figure], 48), track_of([figure], 96).resized(48)
    np.testing.assert_allclose(small.face_box, large.face_box, rtol=1e-5)
    assert np.abs(small.mask.astype(int) - large.mask).mean() < 2


@given(soft_masks())
def test_shrinking_averages_coverage(masks):
    frames, height, width = (side - side % 2 if axis else side for axis, side in enumerate(masks.shape))
    even = np.ascontiguousarray(masks[:, :height, :width])
    halved = replace(track_of([Figure()] * frames, 8), mask=even).resized((height // 2, width // 2)).mask
    blocks = even.reshape(frames, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    assert np.abs(halved - blocks).max() <= 0.51


@pytest.mark.parametrize(
    "broken",
    [
        {"mask": np.zeros((0, 8, 8), np.uint8)},
        {"mask": np.zeros((3, 8, 8), np.uint8)},
        {"face_box": np.zeros((1, 4), np.float32)},
        {"score": np.zeros(1, np.float32)},
    ],
)
def test_fields_of_different_length_are_refused(broken, unchecked_shapes):
    with pytest.raises(ValueError, match="must"):
        replace(track_of([Figure()] * 2, 8), **broken)


def test_a_canvas_without_pixels_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        height_width(0)
