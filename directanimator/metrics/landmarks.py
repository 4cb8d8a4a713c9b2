"""How far body and face landmarks of the generated video are from the driver's."""

import math
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64

Normalizer = Literal["image", "person"]


def plc(
    generated: Float[np.ndarray, "f k 2"],
    driving: Float[np.ndarray, "f k 2"],
    generated_size: tuple[int, int],
    driving_size: tuple[int, int],
    normalizer: Normalizer = "image",
) -> float:
    """Pose landmark consistency: mean distance of body landmarks seen in both videos, >= 0; 0 is best.

    `image`: x is divided by the width and y by the height (sizes are height, width). `person`: each clip's landmarks
    are moved and scaled once, in pixels, so that their mean is 0 and their spread 1, which forgives another place or
    build and knows no size: in shares of frames of two shapes a body would not be like itself.
    NaN when no landmark is seen in both; `landmark_recall` tells how many are not.
    Source: DirectAnimator's appendix. Deviation: its normalizer is not stated; both are ours."""
    both = _seen(generated) & _seen(driving)
    if not both.any():
        return math.nan
    if normalizer == "person":
        first, second = _standardized(generated, both), _standardized(driving, both)
    else:
        first, second = _shares(generated, generated_size), _shares(driving, driving_size)
    return float(np.linalg.norm(first[both] - second[both], axis=1).mean())


def flc(generated: Float[np.ndarray, "f k 2"], driving: Float[np.ndarray, "f k 2"]) -> float:
    """Face landmark consistency: mean distance of face landmarks in shares of the face's longer side, >= 0; 0 is best.

    Each frame's face is moved and scaled by the box around its landmarks, so place and size do not count, only
    expression and turn of the head. Over the frames that show a face in both; NaN when there is none.
    Source: DirectAnimator's appendix. Deviation: MediaPipe's 468 points for DWPose's 68."""
    both = _seen(generated).all(axis=1) & _seen(driving).all(axis=1)
    if not both.any():
        return math.nan
    return float(np.linalg.norm(_in_box(generated[both]) - _in_box(driving[both]), axis=2).mean())


def landmark_recall(generated: Float[np.ndarray, "f k 2"], driving: Float[np.ndarray, "f k 2"]) -> float:
    """Share of the landmarks seen in the driving video that are found in the generated one, in [0, 1].

    NaN when the driving video shows none."""
    wanted = _seen(driving)
    return float(_seen(generated)[wanted].mean()) if wanted.any() else math.nan


def _seen(points: Float[np.ndarray, "f k 2"]) -> Bool[np.ndarray, "f k"]:
    return np.asarray(np.isfinite(points).all(axis=2))


def _shares(points: Float[np.ndarray, "f k 2"], size: tuple[int, int]) -> Float64[np.ndarray, "f k 2"]:
    height, width = size
    return points.astype(np.float64) / np.array([width, height], np.float64)


def _standardized(
    points: Float[np.ndarray, "f k 2"], counted: Bool[np.ndarray, "f k"]
) -> Float64[np.ndarray, "f k 2"]:
    values = points.astype(np.float64)
    centered = values - values[counted].mean(axis=0)
    spread = math.sqrt(float((centered[counted] ** 2).sum(axis=1).mean()))
    return centered / max(spread, np.finfo(np.float64).tiny)


def _in_box(points: Float[np.ndarray, "f k 2"]) -> Float64[np.ndarray, "f k 2"]:
    values = points.astype(np.float64)
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    side = np.maximum((high - low).max(axis=2, keepdims=True), np.finfo(np.float64).tiny)
    return (values - (low + high) / 2) / side
