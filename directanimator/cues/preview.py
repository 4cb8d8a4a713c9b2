"""Cues for the eye."""

import numpy as np
from jaxtyping import UInt8

from directanimator.cues.triplet import DrivingCues

BODY_COLOR = np.array([40, 140, 220], np.uint8)
FACE_COLOR = np.array([250, 180, 40], np.uint8)


def cue_strip(
    frames_resized: UInt8[np.ndarray, "f h w 3"], mask: UInt8[np.ndarray, "f h w"], cues: DrivingCues
) -> UInt8[np.ndarray, "f h 5*w 3"]:
    """Frame, mask, pose cue, face cue and location cue side by side, RGB 0..255."""
    return np.concatenate([frames_resized, _gray_to_rgb(mask), cues_in_color(cues)], axis=2)


def cues_in_color(cues: DrivingCues) -> UInt8[np.ndarray, "f h strip 3"]:
    """Pose cue, face cue and location cue side by side, three times as wide, RGB 0..255."""
    return np.concatenate([cues.pose_in_color, cues.face_cue, location_in_color(cues)], axis=2)


def location_in_color(cues: DrivingCues) -> UInt8[np.ndarray, "f h w 3"]:
    """Body mask in blue under face mask in amber, on black, RGB 0..255."""
    body = cues.body_location[..., None].astype(np.float32) / 255
    face = cues.face_location[..., None].astype(np.float32) / 255
    return np.rint(face * FACE_COLOR + (1 - face) * body * BODY_COLOR).astype(np.uint8)


def _gray_to_rgb(levels: UInt8[np.ndarray, "f h w"]) -> UInt8[np.ndarray, "f h w 3"]:
    return np.repeat(levels[..., None], 3, axis=-1)
