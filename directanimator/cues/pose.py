"""The pose cue: the gray, low-passed person, which carries the motion."""

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from directanimator.cues.alignment import Alignment, warped
from directanimator.cues.low_pass import low_pass
from directanimator.cues.spec import PoseCueSpec

MID_GRAY = 128
"""Level of everything that is not person, and of frames without a cue."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green, blue in luma (ITU-R BT.601)."""


def pose_cue(
    frames: UInt8[np.ndarray, "f h w 3"],
    mask: UInt8[np.ndarray, "f h w"],
    accepted: Bool[np.ndarray, " f"],
    alignment: Alignment,
    spec: PoseCueSpec,
) -> UInt8[np.ndarray, "f h w"]:
    """Gray person on mid-gray, 0..255, without fine detail; frames that are not accepted are flat.

    The person fades into mid-gray by the mask before the filter, so that its outline is no sharp edge against black
    and nothing of the background enters. With `spec.aligned` the person is laid where the location cue is.
    Source: Beyond Skeletons, Driving Cue Triplet.
    Deviation: the paper does not state the level outside the person, and leaves the pose cue where the driver is."""
    usable = mask * accepted[:, None, None]
    person = (luma(frames) - MID_GRAY) * (usable.astype(np.float32) / 255)
    if spec.aligned:
        person = np.stack([warped(frame, alignment) for frame in person])
    return to_levels(low_pass(person, spec.cutoff, spec.filter_shape))


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
    return np.where(mask[..., None] > 0, frames, np.uint8(MID_GRAY))
