"""DWPose from two ONNX files: a YOLOX detector of people and a whole-body landmark net with SimCC outputs."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from directanimator.errors import UserError
from directanimator.metrics.local_weights import DWPOSE_DETECTOR, DWPOSE_POSE

DETECTOR_SIDE = 640
POSE_HEIGHT, POSE_WIDTH = 384, 288
STRIDES = (8, 16, 32)
NUM_POINTS = 133
BODY, FACE = slice(0, 17), slice(23, 91)
"""COCO's whole body: 17 of the body, 6 of the feet, 68 of the face, 42 of the hands."""
BINS_PER_PIXEL = 2
CONFIDENT = 0.3
"""Least score of a person and of a landmark. Source: DWPose."""
_OVERLAP = 0.45
_MARGIN = 1.25
_GRAY = 114
_PERSON = 5
"""Column of a detection that holds the score of the class `person`."""
_MEAN, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

Box = Float[np.ndarray, " 4"]


class DwPose:
    """Landmarks of the largest person of a frame.

    Raises: UserError (on construction) if onnxruntime is not installed or a file is no such network.
    Source: Yang et al. 2023. Deviation: the detector is given BGR, as YOLOX was trained; a frame in which no person
    is found has no landmarks, where DWPose looks at the whole frame."""

    def __init__(self, detector: Path, pose: Path) -> None:
        self._detector = _Session(detector, (3, DETECTOR_SIDE, DETECTOR_SIDE), outputs=1)
        self._pose = _Session(pose, (3, POSE_HEIGHT, POSE_WIDTH), outputs=2)

    @classmethod
    def local(cls) -> "DwPose":
        """The networks whose files lie in the directory of weights.

        Raises: UserError if a file is missing."""
        return cls(DWPOSE_DETECTOR.path(), DWPOSE_POSE.path())

    def track(self, frames: UInt8[np.ndarray, "f h w 3"]) -> Float32[np.ndarray, "f 133 2"]:
        """x, y in pixels (pixel 0 spans 0..1); NaN where nobody or no confident landmark is found."""
        found = np.full((len(frames), NUM_POINTS, 2), np.nan, np.float32)
        for index, frame in enumerate(frames):
            box = self._person(frame)
            if box is not None:
                found[index] = self._landmarks(frame, box)
        return found

    def _person(self, frame: UInt8[np.ndarray, "h w 3"]) -> Box | None:
        pixels, scale = letterboxed(frame)
        (raw,) = self._detector(np.ascontiguousarray(pixels[..., ::-1].transpose(2, 0, 1), np.float32))
        boxes, scores = people(np.asarray(raw[0], np.float32))
        kept = boxes[distinct(boxes, scores)] / scale
        return max(kept, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]), default=None)

    def _landmarks(self, frame: UInt8[np.ndarray, "h w 3"], box: Box) -> Float32[np.ndarray, "133 2"]:
        center, size = region(box)
        scale = np.array([POSE_WIDTH, POSE_HEIGHT]) / size
        shift = np.array([POSE_WIDTH, POSE_HEIGHT]) / 2 - center * scale
        matrix = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
        crop = cv2.warpAffine(frame, matrix, (POSE_WIDTH, POSE_HEIGHT), flags=cv2.INTER_LINEAR)
        pixels = (crop.astype(np.float32) - np.array(_MEAN, np.float32)) / np.array(_DEVIATION, np.float32)
        across, down = self._pose(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        places, scores = from_simcc(np.asarray(across[0], np.float32), np.asarray(down[0], np.float32))
        points = (places - shift) / scale + 0.5
        return np.where(scores[:, None] >= CONFIDENT, points, np.nan).astype(np.float32)


class _Session:
    """An ONNX file as a function of one picture."""

    def __init__(self, path: Path, shape: tuple[int, int, int], outputs: int) -> None:
        try:
            from onnxruntime import InferenceSession
            from onnxruntime.capi import onnxruntime_pybind11_state as failures
        except ImportError as error:
            raise UserError("dwpose: needs pip install 'directanimator[perception]'") from error
        broken = (failures.InvalidProtobuf, failures.InvalidGraph, failures.Fail, failures.NoSuchFile)
        try:
            self._session: Any = InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except broken as error:
            raise UserError(f"{path}: not an ONNX network ({type(error).__name__})") from error
        given = self._session.get_inputs()[0]
        if tuple(given.shape[1:]) != shape or len(self._session.get_outputs()) != outputs:
            wanted = f"takes {'x'.join(map(str, shape))} and gives {outputs} output{'s' if outputs > 1 else ''}"
            raise UserError(f"{path}: not the network of DWPose, which {wanted}; takes {list(given.shape)}")
        self._input: str = given.name

    def __call__(self, pixels: Float32[np.ndarray, "3 h w"]) -> list[np.ndarray]:
        """The outputs of one picture, each with its batch axis."""
        return list(self._session.run(None, {self._input: pixels[None]}))


def letterboxed(frame: UInt8[np.ndarray, "h w 3"]) -> tuple[UInt8[np.ndarray, "640 640 3"], float]:
    """The frame, scaled into the upper left of a gray square, and the scale."""
    scale = DETECTOR_SIDE / max(frame.shape[:2])
    height, width = (max(round(side * scale), 1) for side in frame.shape[:2])
    canvas = np.full((DETECTOR_SIDE, DETECTOR_SIDE, 3), _GRAY, np.uint8)
    canvas[:height, :width] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    return canvas, scale


def people(
    raw: Float32[np.ndarray, "cells columns"], side: int = DETECTOR_SIDE
) -> tuple[Float32[np.ndarray, "n 4"], Float32[np.ndarray, " n"]]:
    """Boxes (x0, y0, x1, y1) and scores of the people among a detector's raw cells, coarsest cells last.

    A cell holds its box's center and the logarithm of its size in strides, how sure it is of an object, and classes.
    Source: YOLOX."""
    grids, steps = [], []
    for stride in STRIDES:
        count = side // stride
        rows, columns = np.divmod(np.arange(count * count), count)
        grids.append(np.stack([columns, rows], axis=1))
        steps.append(np.full((count * count, 1), stride))
    grid, step = np.concatenate(grids), np.concatenate(steps)
    scores = raw[:, 4] * raw[:, _PERSON]
    is_person = (scores > CONFIDENT) & (raw[:, _PERSON:].argmax(axis=1) == 0)
    center = (raw[is_person, :2] + grid[is_person]) * step[is_person]
    half = np.exp(raw[is_person, 2:4]) * step[is_person] / 2
    return np.concatenate([center - half, center + half], axis=1).astype(np.float32), scores[is_person]


def distinct(boxes: Float32[np.ndarray, "n 4"], scores: Float32[np.ndarray, " n"]) -> Int[np.ndarray, " k"]:
    """Which boxes stay when those that overlap a surer one by more than 0.45 are dropped, surest first."""
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if all(_overlap(boxes[index], boxes[other]) <= _OVERLAP for other in kept):
            kept.append(int(index))
    return np.array(kept, np.int64)


def _overlap(first: Box, second: Box) -> float:
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    whole = sum(float(np.prod(box[2:] - box[:2])) for box in (first, second)) - shared
    return shared / whole if whole > 0 else 0.0


def region(box: Box) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
    """Center, and width and height, of what the landmark net looks at: the box and a margin, in the net's shape."""
    low, high = box[:2].astype(np.float64), box[2:].astype(np.float64)
    width, height = np.maximum((high - low) * _MARGIN, 1)
    shape = POSE_WIDTH / POSE_HEIGHT
    size = (width, width / shape) if width > height * shape else (height * shape, height)
    return (low + high) / 2, np.array(size)


def from_simcc(
    across: Float32[np.ndarray, "k bins_x"], down: Float32[np.ndarray, "k bins_y"]
) -> tuple[Float[np.ndarray, "k 2"], Float32[np.ndarray, " k"]]:
    """Places in the net's pixels, and scores, of landmarks whose x and y are each classified into half pixels.

    The score is the smaller of both maxima. Source: SimCC, Li et al. 2022."""
    places = np.stack([across.argmax(axis=1), down.argmax(axis=1)], axis=1) / BINS_PER_PIXEL
    return places, np.minimum(across.max(axis=1), down.max(axis=1))
