"""Skeleton images: what a method that is driven by poses gets to see, at three levels of honesty."""

import dataclasses
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from directanimator.data.synthetic.ground_truth import GroundTruth
from directanimator.data.synthetic.keypoints import OPENPOSE_18, Keypoints, other_side
from directanimator.data.synthetic.scene import hsv
from directanimator.errors import UserError, did_you_mean

Honesty = Literal["exact", "detected", "unlabelled"]

BODY = slice(1, 14)
"""Neck to ankles among OPENPOSE_18; the others are points of the face."""
_LIMBS = (
    ("neck", "right_shoulder"),
    ("neck", "left_shoulder"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("neck", "right_hip"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
    ("neck", "left_hip"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("neck", "nose"),
    ("nose", "right_eye"),
    ("right_eye", "right_ear"),
    ("nose", "left_eye"),
    ("left_eye", "left_ear"),
)
_ENDS = np.array([[OPENPOSE_18.index(name) for name in limb] for limb in _LIMBS])
_COLORS = np.array([hsv(index / len(_LIMBS), 1.0, 1.0) for index in range(len(_LIMBS))], np.float32)
_GRAY = np.full((len(_LIMBS), 3), 0.8, np.float32)
_THICKNESS = 0.012
"""Half width of a limb in frame sides."""

NOISE = 0.006
"""Standard deviation of a detected point, in heights of the person."""
SWAP_RATE, SWAP_RATE_BEHIND = 0.02, 0.5
"""Share of frames in which a detector takes left for right: of front views, and of back views."""
DROPOUT, DROPOUT_HIDDEN = 0.02, 0.35
"""Share of points that a detector misses: of visible ones, and of hidden ones."""


@dataclasses.dataclass(frozen=True, eq=False)
class Skeleton:
    """Points of OPENPOSE_18, frame by frame."""

    xy: Float32[np.ndarray, "f 18 2"]
    known: Bool[np.ndarray, "f 18"]
    """False where there is no point to draw."""
    labelled: bool
    """Whether limbs are told apart by color."""


def _scale(points: Keypoints) -> np.ndarray:
    """(f, 1, 1) extent of the body in pixels."""
    return np.asarray(np.ptp(points.xy[:, BODY], axis=1).max(axis=1))[:, None, None]


def _detected(truth: GroundTruth, rng: np.random.Generator) -> Skeleton:
    points, behind = truth.openpose, truth.facing < 0
    frames = len(behind)
    xy = points.xy + rng.normal(0, NOISE, points.xy.shape) * _scale(points)
    missed = rng.random(points.visible.shape) < np.where(points.visible, DROPOUT, DROPOUT_HIDDEN)
    swapped = rng.random(frames) < np.where(behind, SWAP_RATE_BEHIND, SWAP_RATE)
    known, other = ~missed, other_side(OPENPOSE_18)
    known[:, [0, *range(14, 18)]] &= points.visible[:, [0, *range(14, 18)]]
    xy = np.where(swapped[:, None, None], xy[:, other], xy)
    return Skeleton(xy.astype(np.float32), np.where(swapped[:, None], known[:, other], known), labelled=True)


def skeleton_of(truth: GroundTruth, honesty: Honesty, rng: np.random.Generator) -> Skeleton:
    """The skeleton of a clip.

    exact: all points, hidden ones too, with their names: more than any detector can know.
    detected: noise, left and right swapped, above all in back views, points missed, above all hidden ones.
    unlabelled: exact places without names, sides and face: what a silhouette's skeleton tells.

    Raises: UserError for an unknown level.
    Source: the errors are modelled after published detectors' habits, not measured on one."""
    legal = get_args(Honesty)
    if honesty not in legal:
        near = did_you_mean(str(honesty), legal)
        raise UserError(f"skeleton honesty {honesty!r}: legal are {', '.join(legal)}{near}")
    if honesty == "detected":
        return _detected(truth, rng)
    known = np.ones(truth.openpose.visible.shape, bool)
    if honesty == "unlabelled":
        known[:, [0, *range(14, 18)]] = False
    return Skeleton(truth.openpose.xy, known, labelled=honesty == "exact")


def _limb_cover(start: np.ndarray, end: np.ndarray, size: int, radius: float) -> np.ndarray:
    """(s, s) coverage in [0, 1] of a line with round ends."""
    y, x = np.mgrid[0:size, 0:size] + 0.5
    along = end - start
    share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(float((along * along).sum()), 1e-9)
    share = np.clip(share, 0, 1)
    distance = np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1])
    return np.asarray(np.clip(radius + 0.5 - distance, 0, 1))


def draw_skeleton(skeleton: Skeleton, size: int) -> UInt8[np.ndarray, "f s s 3"]:
    """The skeleton on black, antialiased; limbs with an unknown end are left out."""
    colors = _COLORS if skeleton.labelled else _GRAY
    radius = max(_THICKNESS * size, 0.7)
    images = np.zeros((len(skeleton.xy), size, size, 3), np.float32)
    for image, points, known in zip(images, skeleton.xy, skeleton.known, strict=True):
        for (start, end), color in zip(_ENDS, colors, strict=True):
            if known[start] and known[end]:
                cover = _limb_cover(points[start], points[end], size, radius)[..., None]
                image[...] = np.where(
                    skeleton.labelled, image * (1 - cover) + color * cover, np.maximum(image, color * cover)
                )
    return np.round(255 * images).astype(np.uint8)
