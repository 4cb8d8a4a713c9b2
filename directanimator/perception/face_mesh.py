"""468 points of a face, by MediaPipe's landmark net."""

import numpy as np
from jaxtyping import Float32, UInt8

from directanimator.assets import asset
from directanimator.cues.person import face_seen
from directanimator.perception.mediapipe import Net
from directanimator.perception.region import Square
from directanimator.perception.ssd import sigmoid

NUM_POINTS = 468
_SIDE = 192
_MARGIN = 1.5
_PRESENT = 0.5
_RIGHT_EYE, _LEFT_EYE = 33, 263
"""Outer corners; right and left are the person's own."""


class FaceMesh:
    """Landmarks inside face boxes that a detector has found. Deterministic; keeps nothing between clips.

    Raises: UserError (on construction) if the weight file has not been fetched.
    Source: MediaPipe 0.10.21, module face_landmark."""

    def __init__(self, num_threads: int = 1) -> None:
        self._net = Net(asset("face_landmark"), num_threads)

    def track(
        self, frames: UInt8[np.ndarray, "f h w 3"], face_box: Float32[np.ndarray, "f 4"]
    ) -> Float32[np.ndarray, "f 468 2"]:
        """x, y in pixels (pixel 0 spans 0..1); NaN where the box is none or shows no face to the net."""
        points = np.full((len(frames), NUM_POINTS, 2), np.nan, np.float32)
        for index in np.flatnonzero(face_seen(face_box, frames.shape[1:3])):
            points[index] = self._points(frames[index], face_box[index])
        return points

    def _points(
        self, frame: UInt8[np.ndarray, "h w 3"], box: Float32[np.ndarray, " 4"]
    ) -> Float32[np.ndarray, "468 2"]:
        """Looked at twice: the first look's eyes tell how the head is tilted, and the second look is upright."""
        center, side = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max()) * _MARGIN
        first = self._look(frame, Square.upright(np.asarray(center, np.float32), side))
        if first is None:
            return np.full((NUM_POINTS, 2), np.nan, np.float32)
        second = self._look(frame, _around(first))
        return first if second is None else second

    def _look(self, frame: UInt8[np.ndarray, "h w 3"], region: Square) -> Float32[np.ndarray, "468 2"] | None:
        outputs = self._net(region.crop(frame, _SIDE).astype(np.float32) / 255)
        points, presence = sorted(outputs, key=lambda output: -output.size)[:2]
        if sigmoid(np.asarray(presence, np.float32).ravel())[0] < _PRESENT:
            return None
        return region.to_frame(np.asarray(points, np.float32).reshape(NUM_POINTS, 3)[:, :2] / _SIDE)


def _around(points: Float32[np.ndarray, "468 2"]) -> Square:
    """The square around a face, turned so that its eyes lie level."""
    low, high = points.min(axis=0), points.max(axis=0)
    right = points[_LEFT_EYE] - points[_RIGHT_EYE]
    length = float(np.linalg.norm(right))
    up = np.array([right[1], -right[0]], np.float32) / length if length > 0 else np.array([0, -1], np.float32)
    return Square(np.asarray((low + high) / 2, np.float32), float((high - low).max()) * _MARGIN, up)
