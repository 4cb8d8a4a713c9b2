"""The location cue: where body and face belong in the picture, in the reference's layout."""

import cv2
import numpy as np
from jaxtyping import Bool, Float64, UInt8

from directanimator.cues.alignment import Alignment, identity_alignment, warped
from directanimator.cues.canvas import CanvasSize, height_width, resize
from directanimator.cues.person import PersonTrack, face_seen
from directanimator.cues.spec import LocationCueSpec


def warp_masks(
    masks: UInt8[np.ndarray, "f h w"], alignment: Alignment, out_size: CanvasSize
) -> UInt8[np.ndarray, "f out_h out_w"]:
    """Masks in the reference's layout, 0..255; zero where the driving frame does not reach."""
    return np.stack([warped(mask, alignment) for mask in resize(masks, out_size)])


def soften(masks: UInt8[np.ndarray, "f h w"], cells: int) -> UInt8[np.ndarray, "f h w"]:
    """Masks, 0..255, averaged in a grid of cells x cells and enlarged bilinearly: a silhouette without its outline.

    As many cells as pixels change nothing.
    Source: Beyond Skeletons, location cue (grid-based softening); the number of cells is not stated there."""
    _, height, width = masks.shape
    grid = (min(cells, width), min(cells, height))
    coarse = [cv2.resize(mask, grid, interpolation=cv2.INTER_AREA) for mask in masks.astype(np.float32)]
    soft = np.stack([cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR) for mask in coarse])
    return np.clip(np.rint(soft), 0, 255).astype(np.uint8)


def location_cue(
    driving: PersonTrack, alignment: Alignment, size: CanvasSize, spec: LocationCueSpec
) -> tuple[UInt8[np.ndarray, "f h w"], UInt8[np.ndarray, "f h w"]]:
    """Body mask (soft) and face mask (hard), 0..255, both in the reference's layout.

    With `spec.aligned` off they are in the driver's layout, with `spec.soften_cells` none the body mask is hard too.
    Source: Beyond Skeletons, location cue (softening is stated for the body mask alone)."""
    layout = alignment if spec.aligned else identity_alignment()
    body = warp_masks(driving.mask, layout, size)
    if spec.soften_cells is not None:
        body = soften(body, spec.soften_cells)
    return body, _face_masks(driving, layout, size)


def _face_masks(driving: PersonTrack, alignment: Alignment, size: CanvasSize) -> UInt8[np.ndarray, "f h w"]:
    height, width = height_width(size)
    shift = np.array([alignment.dx, alignment.dy] * 2)
    edges = (_face_shares(driving) * alignment.scale + shift) * [width, height, width, height]
    masks = np.zeros((driving.num_frames, height, width), np.uint8)
    for i in np.flatnonzero(_sees_face(driving)):
        x0, y0, x1, y1 = np.clip(np.rint(edges[i]), 0, [width, height, width, height]).astype(int)
        masks[i, y0:y1, x0:x1] = 255
    return masks


def _face_shares(track: PersonTrack) -> Float64[np.ndarray, "f 4"]:
    height, width = track.size
    return track.face_box.astype(np.float64) / [width, height, width, height]


def _sees_face(track: PersonTrack) -> Bool[np.ndarray, " f"]:
    return face_seen(track.face_box, track.size)
