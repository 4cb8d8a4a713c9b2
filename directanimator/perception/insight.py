"""Face boxes through InsightFace, the paper's detector, from a local directory of its .onnx files."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from directanimator.errors import UserError
from directanimator.perception.person import PersonWatch, Seen, no_face
from directanimator.perception.segmenters import box_of, weights_directory

PAGE = "https://github.com/deepinsight/insightface/tree/master/model_zoo (non-commercial)"
THRESHOLD = 0.5
"""Least confidence of a face."""
_HEAD_SHARE = 0.5
"""Upper part of a body's box in which its face is looked for."""


class InsightFaces:
    """Follows a person as another watch does, with the faces of InsightFace.

    Raises: UserError (on construction) if the directory holds no detector, or the package is not installed."""

    def __init__(self, guide: PersonWatch, directory: Path) -> None:
        place = weights_directory("perception.faces=insightface", directory, ("*.onnx",), PAGE)
        try:
            from insightface.app import FaceAnalysis
        except ImportError as error:
            raise UserError("perception.faces=insightface: needs pip install insightface onnxruntime") from error
        try:
            self._app: Any = FaceAnalysis(
                name=str(place.resolve()), allowed_modules=["detection"], providers=["CPUExecutionProvider"]
            )
        except (AssertionError, RuntimeError, ValueError) as error:
            raise UserError(f"{place}: holds no face detector of InsightFace ({type(error).__name__})") from error
        self._app.prepare(ctx_id=-1, det_thresh=THRESHOLD, det_size=(640, 640))
        self._guide = guide

    def watch(self, frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Iterator[Seen]:
        """Every frame with the guide's person, whose face is the largest one in the upper half of their box."""
        for seen in self._guide.watch(frames):
            yield Seen(seen.frame, replace(seen.sighting, face_box=self._face(seen)))

    def _face(self, seen: Seen) -> Float32[np.ndarray, " 4"]:
        mask = seen.sighting.mask
        body = None if mask is None else box_of(mask, seen.frame.shape[0], seen.frame.shape[1])
        if body is None:
            return no_face()
        found = self._app.get(np.ascontiguousarray(seen.frame[..., ::-1]))
        boxes = [np.asarray(face.bbox, np.float32) for face in found]
        return max((box for box in boxes if _is_of(box, body)), key=_area, default=no_face())


def _is_of(box: Float32[np.ndarray, " 4"], body: Float32[np.ndarray, " 4"]) -> bool:
    x, y = (float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
    x0, y0, x1, y1 = (float(edge) for edge in body)
    return x0 <= x <= x1 and y0 - (y1 - y0) * 0.1 <= y <= y0 + (y1 - y0) * _HEAD_SHARE


def _area(box: Float32[np.ndarray, " 4"]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
