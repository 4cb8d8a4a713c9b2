"""The face cue: the face, enlarged and centered on the whole canvas, which carries the expression."""

import math

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from directanimator.cues.canvas import CanvasSize, height_width, resize
from directanimator.cues.person import face_seen
from directanimator.cues.pose import MID_GRAY
from directanimator.cues.spec import FaceCueSpec

SMOOTHING_RADIUS = 2
"""Frames on each side that steady a face box."""

MAX_OVERSAMPLING = 8
"""Bound on the work for a face that is far larger than the canvas."""


def smooth_boxes(boxes: Float32[np.ndarray, "f 4"], radius: int = SMOOTHING_RADIUS) -> Float32[np.ndarray, "f 4"]:
    """Boxes in pixels, each averaged with its neighbors in time; NaN rows stay NaN and part the runs.

    The window is symmetric and shrinks toward the ends of a run, so steady motion passes unchanged."""
    seen = np.isfinite(boxes).all(axis=1)
    smooth = np.full_like(boxes, np.nan)
    for start, stop in _runs(seen):
        for i in range(start, stop):
            reach = min(radius, i - start, stop - 1 - i)
            smooth[i] = boxes[i - reach : i + reach + 1].mean(axis=0, dtype=np.float64)
    return smooth


def face_cue(
    frames: UInt8[np.ndarray, "f source_h source_w 3"],
    face_box: Float32[np.ndarray, "f 4"],
    out_size: CanvasSize,
    spec: FaceCueSpec,
) -> tuple[UInt8[np.ndarray, "f h w 3"], Bool[np.ndarray, " f"]]:
    """Zoomed faces, 0..255, and where there is one; flat mid-gray elsewhere.

    The crop is taken from the frames at their own resolution, so a small face keeps all its detail. It is a square of
    `margin` box sides (on an oblong canvas: its shorter side is); beyond the frame the border is repeated. With
    `spec.zoomed` off that square stays at its place and size in the frame, on mid-gray.
    Source: Beyond Skeletons, Driving Cue Triplet (cropped, enlarged, centered).
    Deviation: margin and level of absent faces are not stated there."""
    height, width = height_width(out_size)
    present = face_seen(face_box, (frames.shape[1], frames.shape[2]))
    canvas = np.full((len(frames), height, width, 3), MID_GRAY, np.uint8)
    for i in np.flatnonzero(present):
        if spec.zoomed:
            canvas[i] = _zoom(frames[i], face_box[i], (height, width), spec.margin)
        else:
            canvas[i] = _in_place(frames[i], face_box[i], (height, width), spec.margin)
    return canvas, present


def _in_place(
    frame: UInt8[np.ndarray, "source_h source_w 3"],
    box: Float32[np.ndarray, " 4"],
    size: tuple[int, int],
    margin: float,
) -> UInt8[np.ndarray, "h w 3"]:
    source_height, source_width = frame.shape[:2]
    x0, y0, x1, y1 = (float(edge) for edge in box)
    reach = margin * max(x1 - x0, y1 - y0) / 2
    center = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    (left, top), (right, bottom) = (
        np.clip(np.rint(center + side * reach), 0, [source_width, source_height]).astype(int) for side in (-1, 1)
    )
    kept = np.full_like(frame, MID_GRAY)
    kept[top:bottom, left:right] = frame[top:bottom, left:right]
    return resize(kept[None], size)[0]


def _zoom(
    frame: UInt8[np.ndarray, "source_h source_w 3"],
    box: Float32[np.ndarray, " 4"],
    size: tuple[int, int],
    margin: float,
) -> UInt8[np.ndarray, "h w 3"]:
    height, width = size
    x0, y0, x1, y1 = (float(edge) for edge in box)
    pixels_per_canvas_pixel = margin * max(x1 - x0, y1 - y0) / min(height, width)
    oversampling = min(MAX_OVERSAMPLING, max(1, math.ceil(pixels_per_canvas_pixel)))
    step = pixels_per_canvas_pixel / oversampling
    left = (x0 + x1) / 2 - pixels_per_canvas_pixel * width / 2
    top = (y0 + y1) / 2 - pixels_per_canvas_pixel * height / 2
    to_frame = np.array([[step, 0, left + (step - 1) / 2], [0, step, top + (step - 1) / 2]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine_size = (width * oversampling, height * oversampling)
    fine = cv2.warpAffine(frame, to_frame, fine_size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _runs(flags: Bool[np.ndarray, " f"]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
