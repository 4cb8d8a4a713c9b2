"""All scores of one clip whose true answer is known."""

import math

import numpy as np
from jaxtyping import UInt8

from directanimator.data.items import AnimationItem
from directanimator.metrics.identity import person_colors, person_kept
from directanimator.metrics.image import face_psnr, foreground_psnr, psnr, ssim
from directanimator.metrics.mask import estimated_mask, mask_iou
from directanimator.metrics.motion import motion_following

CLIP_SCORES_VERSION = 1
"""Bump it when a score changes its meaning, so that old and new values refuse to be compared."""


def score_clip(
    generated: UInt8[np.ndarray, "f h w 3"],
    item: AnimationItem,
    driving_frames: UInt8[np.ndarray, "f h w 3"] | None = None,
    driving_mask: UInt8[np.ndarray, "f h w"] | None = None,
) -> dict[str, float]:
    """The scores of a generated clip against the item's target; more is better for all.

    `psnr`, `psnr_foreground`, `psnr_face` (dB, at most 100; NaN when there is nothing to look at), `ssim`, `motion`
    (both in [-1, 1]), `mask_iou` and `mask_iou_ceiling` (in [0, 1], NaN without a known background; the ceiling is what
    the true frames get), and
    `identity` (1 or 0), which exists only with a driver to be confused with: its frames and mask on the canvas, for a
    cross-ID clip. The person's colors are read where the true target has the person.
    Raises: ValueError if generated and target differ in shape, or only one of driving_frames and driving_mask is
    given."""
    if (driving_frames is None) != (driving_mask is None):
        raise ValueError("driving_frames and driving_mask go together: give both (cross-ID) or neither (same-ID)")
    target, track = item.target, item.target_track
    scores = {
        "psnr": psnr(generated, target),
        "psnr_foreground": _or_nan(foreground_psnr(generated, target, track.mask)),
        "psnr_face": _or_nan(face_psnr(generated, target, track.face_box)),
        "ssim": ssim(generated, target),
        "mask_iou": _iou(generated, item),
        "mask_iou_ceiling": _iou(target, item),
        "motion": motion_following(generated, target, track.mask),
    }
    if driving_frames is not None and driving_mask is not None:
        reference_colors = person_colors(item.reference, item.reference_track.mask)
        driver_colors = person_colors(driving_frames, driving_mask)
        scores["identity"] = float(person_kept(generated, track.mask, reference_colors, driver_colors))
    return scores


def _iou(frames: UInt8[np.ndarray, "f h w 3"], item: AnimationItem) -> float:
    if item.background is None:
        return math.nan
    return mask_iou(estimated_mask(frames, item.background), item.target_track.mask)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
