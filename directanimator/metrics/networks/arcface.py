"""ArcFace from an ONNX file of InsightFace: the identity that papers mean by FIS."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from directanimator.errors import UserError
from directanimator.metrics.local_weights import ARCFACE
from directanimator.metrics.networks.dlib_face import similarity

CHIP = 112
"""Side of an aligned face, in pixels."""
BATCH = 16
_FIVE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where the eyes, the tip of the nose and the corners of the mouth lie in a chip, left in the picture first.
Source: InsightFace's alignment."""
_MESH_POINTS = ((33, 133), (263, 362), (1,), (61,), (291,))
"""The same five among the 468 landmarks of MediaPipe's face mesh; an eye is the middle of its corners."""


class ArcFace:
    """Embeddings of aligned faces.

    Raises: UserError (on construction) if the package is not installed or the file is no such network.
    Source: Deng et al. 2019. Deviation: aligned by MediaPipe's mesh, not by RetinaFace's five points."""

    def __init__(self, path: Path) -> None:
        try:
            from insightface.model_zoo.arcface_onnx import ArcFaceONNX
            from onnxruntime import InferenceSession
            from onnxruntime.capi import onnxruntime_pybind11_state as failures
        except ImportError as error:
            raise UserError("arcface: needs pip install 'directanimator[perception]'") from error
        broken = (failures.InvalidProtobuf, failures.InvalidGraph, failures.Fail, failures.NoSuchFile)
        try:
            session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except broken as error:
            raise UserError(f"{path}: not an ONNX network ({type(error).__name__})") from error
        shape = list(session.get_inputs()[0].shape)
        if len(session.get_outputs()) != 1 or shape[1:] != [3, CHIP, CHIP]:
            raise UserError(f"{path}: not ArcFace, which takes 3x{CHIP}x{CHIP} and gives one vector; takes {shape}")
        self._net: Any = ArcFaceONNX(model_file=str(path), session=session)

    @classmethod
    def local(cls) -> "ArcFace":
        """The network whose file lies in the directory of weights.

        Raises: UserError if it is missing."""
        return cls(ARCFACE.path())

    def embed(self, chips: UInt8[np.ndarray, "n 112 112 3"]) -> Float32[np.ndarray, "n d"]:
        """One embedding per aligned face, RGB."""
        return np.asarray(self._net.get_feat([np.ascontiguousarray(chip[..., ::-1]) for chip in chips]), np.float32)


def arcface_embeddings(
    net: ArcFace, frames: UInt8[np.ndarray, "f h w 3"], meshes: Float32[np.ndarray, "f 468 2"]
) -> Float32[np.ndarray, "f d"]:
    """One embedding per frame; a row of NaN where the mesh is NaN, that is where no face was found."""
    there = np.flatnonzero(np.isfinite(meshes).all(axis=(1, 2)))
    parts = [
        net.embed(np.stack([arcface_chip(frames[index], meshes[index]) for index in there[start : start + BATCH]]))
        for start in range(0, len(there), BATCH)
    ]
    found = np.full((len(frames), parts[0].shape[1] if parts else 1), np.nan, np.float32)
    if parts:
        found[there] = np.concatenate(parts)
    return found


def arcface_chip(
    frame: UInt8[np.ndarray, "h w 3"], mesh: Float32[np.ndarray, "468 2"]
) -> UInt8[np.ndarray, "112 112 3"]:
    """The face turned, moved and scaled so that its five points lie where the network expects them.

    `mesh` is in pixels (pixel 0 spans 0..1). Black outside the frame."""
    points = np.stack([mesh[list(members)].mean(axis=0) for members in _MESH_POINTS]).astype(np.float64)
    matrix = similarity(points - 0.5, _FIVE_POINTS)
    return np.asarray(cv2.warpAffine(frame, matrix, (CHIP, CHIP), flags=cv2.INTER_LINEAR), np.uint8)
