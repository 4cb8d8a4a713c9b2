"""Where a person is in front of a known background, and how well two people overlap."""

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from directanimator.cues.gate import FOREGROUND

DIFFERS = 24.0
"""Levels of 255 by which a person's pixel differs from the background: the best ceiling on training clips, IoU .91."""


def estimated_mask(
    frames: UInt8[np.ndarray, "f h w 3"], background: UInt8[np.ndarray, "h w 3"], threshold: float = DIFFERS
) -> Bool[np.ndarray, "f h w"]:
    """True where a frame differs from the background by more than `threshold` in any channel, specks removed.

    Crude on purpose: no net that could be fooled. A person in the background's color is missed, so scores are to be
    read against the ceiling, the same estimate on the true frames.
    Raises: ValueError if frames and background differ in size."""
    if frames.shape[1:] != background.shape:
        raise ValueError(f"frames {frames.shape[1:]} and background {background.shape} must have one size")
    return np.stack([_frame_mask(frame, background, threshold) for frame in frames])


def _frame_mask(
    frame: UInt8[np.ndarray, "h w 3"], background: UInt8[np.ndarray, "h w 3"], threshold: float
) -> Bool[np.ndarray, "h w"]:
    smooth = cv2.blur(cv2.absdiff(frame, background).astype(np.float32), (3, 3))
    differs = (smooth.max(axis=-1) > threshold).astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    # Outside is background: otherwise specks at the border would stay.
    opened = cv2.morphologyEx(differs, cv2.MORPH_OPEN, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return opened > 0


def mask_iou(
    first: UInt8[np.ndarray, "f h w"] | Bool[np.ndarray, "f h w"],
    second: UInt8[np.ndarray, "f h w"] | Bool[np.ndarray, "f h w"],
) -> float:
    """Intersection over union of two masks, pooled over the clip, in [0, 1]; 1 when both are empty.

    Soft masks count from half coverage.
    Raises: ValueError if the shapes differ."""
    if first.shape != second.shape:
        raise ValueError(f"masks must have one shape, got {first.shape} and {second.shape}")
    a, b = _covered(first), _covered(second)
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0


def _covered(mask: UInt8[np.ndarray, "f h w"] | Bool[np.ndarray, "f h w"]) -> Bool[np.ndarray, "f h w"]:
    return mask if mask.dtype == np.bool_ else mask >= FOREGROUND
