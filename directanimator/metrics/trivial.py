"""Answers that need no model. A model that does not beat them has learned nothing."""

import numpy as np
from jaxtyping import UInt8

from directanimator.metrics.identity import NUM_BANDS, band_of_rows, person_colors


def repeat_reference(reference: UInt8[np.ndarray, "1 h w 3"], num_frames: int) -> UInt8[np.ndarray, "f h w 3"]:
    """*Repeat the reference*: the answer that ignores the driving video.

    Raises: ValueError if num_frames is below 1."""
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, got {num_frames}")
    return np.repeat(reference, num_frames, axis=0)


def paste_driving_frame(driving: UInt8[np.ndarray, "f h w 3"]) -> UInt8[np.ndarray, "f h w 3"]:
    """*Paste the driving frame*: the answer that ignores the reference. For a same-ID clip it is the target itself."""
    return driving.copy()


def paste_driving_person(
    driving: UInt8[np.ndarray, "f h w 3"],
    driving_mask: UInt8[np.ndarray, "f h w"],
    reference: UInt8[np.ndarray, "1 h w 3"],
) -> UInt8[np.ndarray, "f h w 3"]:
    """*Paste the driving person*: cut out softly and laid over the reference image, whose own person stays behind.

    Raises: ValueError if frames, masks and reference differ in number or size."""
    if driving.shape[:3] != driving_mask.shape or driving.shape[1:] != reference.shape[1:]:
        shapes = f"driving {driving.shape}, mask {driving_mask.shape}, reference {reference.shape}"
        raise ValueError(f"frames, masks and reference must agree in number and size, got {shapes}")
    alpha = driving_mask[..., None].astype(np.float32) / 255
    return np.rint(alpha * driving + (1 - alpha) * reference).astype(np.uint8)


def paint_driving_outline(
    outline: UInt8[np.ndarray, "f h w"],
    reference: UInt8[np.ndarray, "1 h w 3"],
    reference_mask: UInt8[np.ndarray, "1 h w"],
) -> UInt8[np.ndarray, "f h w 3"]:
    """*Paint the driving outline*: three flat colors of the reference's person, from top to bottom, laid softly
    over the reference image where the driver stands; `outline` is the body's location cue.

    Much for an answer that needs no learning: it knows place and outline, and whose colors are wanted. The reference
    itself when that shows no person.
    Raises: ValueError if outline, reference and mask differ in size."""
    if not outline.shape[1:] == reference.shape[1:3] == reference_mask.shape[1:]:
        shapes = f"outline {outline.shape}, reference {reference.shape}, mask {reference_mask.shape}"
        raise ValueError(f"outline, reference and mask must agree in size, got {shapes}")
    if not reference_mask.any():
        return repeat_reference(reference, len(outline))
    colors = person_colors(reference, reference_mask)
    bands = np.stack([np.clip(band_of_rows(frame), 0, NUM_BANDS - 1).astype(np.int64) for frame in outline])
    alpha = outline[..., None].astype(np.float64) / 255
    return np.rint(alpha * colors[bands][:, :, None] + (1 - alpha) * reference).astype(np.uint8)
