"""The pose cue: the low-passed person, gray if not told otherwise, which carries the motion."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from directanimator.cues.alignment import Alignment, identity_alignment, warped
from directanimator.cues.low_pass import low_pass_in_frame
from directanimator.cues.spec import PoseCueSpec

MID_GRAY = 128
"""Level of everything that is not person, and of frames without a cue."""

LIFT, SPREAD, LEAST_SPREAD = 64.0, 28.0, 4.0
"""A normalized person: levels above its surroundings, levels per standard deviation of its brightness, and the standard
deviation below which differences are not magnified further."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green, blue in luma (ITU-R BT.601)."""


def pose_cue(
    frames: UInt8[np.ndarray, "f h w 3"],
    mask: UInt8[np.ndarray, "f h w"],
    accepted: Bool[np.ndarray, " f"],
    alignment: Alignment,
    spec: PoseCueSpec,
) -> UInt8[np.ndarray, "f h w *c"]:
    """Gray person on mid-gray, 0..255, without fine detail; frames that are not accepted are flat.

    With `spec.picture` rgb, red, green and blue of the person, each treated as brightness is, on a last axis of three.

    The person fades into mid-gray by the mask before the filter, so that its outline is no sharp edge against black
    and nothing of the background enters. With `spec.normalized` its brightness is brought to a fixed mean and spread
    over the clip, always above mid-gray: otherwise clothes as bright as mid-gray hide a limb, and whether the driver
    is brighter or darker decides the sign of every motion, which then does not carry over to another person. With
    `spec.aligned` the person is laid where the location cue is.
    Source: Beyond Skeletons, Driving Cue Triplet.
    Deviation: the paper does not state the level outside the person; it leaves brightness and place as the driver's."""
    share = (mask * accepted[:, None, None]).astype(np.float32) / 255
    gray = luma(frames)
    brightness = _brightness(gray, share)
    if spec.picture == "gray":
        return pose_cue_of(gray, share, brightness, alignment, spec)
    colors = np.moveaxis(frames.astype(np.float32), -1, 0)
    return np.stack([pose_cue_of(color, share, brightness, alignment, spec) for color in colors], axis=-1)


def skeleton_cue(
    picture: UInt8[np.ndarray, "f h w 3"],
    accepted: Bool[np.ndarray, " f"],
    alignment: Alignment,
    spec: PoseCueSpec,
) -> UInt8[np.ndarray, "f h w 3"]:
    """The drawn skeleton on black, 0..255; frames that are not accepted are flat mid-gray, as the pose cue's are.

    Laid where the pose cue is, and neither filtered nor normalized.
    Source: Beyond Skeletons, table 3, S5 (a skeleton map in place of the pose cue)."""
    laid = picture.astype(np.float32)
    if spec.aligned and alignment != identity_alignment():
        laid = np.stack([[warped(color, alignment) for color in np.moveaxis(frame, -1, 0)] for frame in laid])
        laid = np.moveaxis(laid, 1, -1)
    return np.where(accepted[:, None, None, None], np.clip(np.rint(laid), 0, 255), MID_GRAY).astype(np.uint8)


@dataclass(frozen=True)
class Brightness:
    """Mean and spread of a person's brightness over a clip, in levels."""

    mean: float
    variance: float


def pose_cue_of(
    gray: Float32[np.ndarray, "f h w"],
    share: Float32[np.ndarray, "f h w"],
    brightness: Brightness,
    alignment: Alignment,
    spec: PoseCueSpec,
) -> UInt8[np.ndarray, "f h w"]:
    """The pose cue of some frames of a clip whose brightness is known; `share` is the mask in [0, 1], 0 if rejected."""
    person = (_normalized(gray, brightness) if spec.normalized else gray - MID_GRAY) * share
    if spec.aligned and alignment != identity_alignment():
        person = np.stack([warped(frame, alignment) for frame in person])
    return to_levels(low_pass_in_frame(person, spec.cutoff, spec.filter_shape))


def _brightness(gray: Float32[np.ndarray, "f h w"], share: Float32[np.ndarray, "f h w"]) -> Brightness:
    total = max(float(share.sum(dtype=np.float64)), 1e-6)
    mean = float((gray * share).sum(dtype=np.float64)) / total
    return Brightness(mean, float((np.square(gray - mean) * share).sum(dtype=np.float64)) / total)


def _normalized(gray: Float32[np.ndarray, "f h w"], brightness: Brightness) -> Float32[np.ndarray, "f h w"]:
    """Levels above mid-gray, 0..127, by the mean and the spread of the person's pixels over the clip."""
    scale = SPREAD / max(brightness.variance**0.5, LEAST_SPREAD)
    return np.asarray(np.clip(LIFT + scale * (gray - brightness.mean), 0, 255 - MID_GRAY), np.float32)


def luma(frames: UInt8[np.ndarray, "f h w 3"]) -> Float32[np.ndarray, "f h w"]:
    """Brightness, 0..255."""
    return np.asarray(frames.astype(np.float32) @ LUMA)


def to_levels(contrast: Float32[np.ndarray, "f h w"]) -> UInt8[np.ndarray, "f h w"]:
    """Levels 0..255 of a contrast around mid-gray, clipped."""
    return np.asarray(np.clip(np.rint(contrast + MID_GRAY), 0, 255), np.uint8)


def person_on_gray(
    frames: UInt8[np.ndarray, "f h w 3"], mask: UInt8[np.ndarray, "f h w"]
) -> UInt8[np.ndarray, "f h w 3"]:
    """The frames with mid-gray wherever the mask is zero.

    Done before frames are resized, or the background would bleed into the person's outline."""
    person = np.full_like(frames, MID_GRAY)
    for frame, coverage, target in zip(frames, mask, person, strict=True):
        cv2.copyTo(frame, coverage, target)
    return person
