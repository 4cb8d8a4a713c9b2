"""The location cue: where body and face belong in the picture, in the reference's layout."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Integer, UInt8

from directanimator.cues.canvas import CanvasSize, height_width, resize
from directanimator.cues.person import PersonTrack, face_seen
from directanimator.cues.spec import LocationCueSpec
from directanimator.errors import UserError

MIN_SCALE, MAX_SCALE = 0.4, 2.5
"""Legal scales of an alignment; beyond them the face boxes or masks are not to be trusted."""

MAX_SHIFT = 8.0
"""Largest shift that makes sense, in frame sides; catches shifts given in pixels."""


@dataclass(frozen=True)
class Alignment:
    """Maps a point of the driving frame to the reference frame: x' = scale x + dx, y' = scale y + dy.

    Coordinates are shares of the frame (0..1), not pixels, so that one alignment holds at every resolution.
    Raises: ValueError if scale is not positive, or a shift is no share of the frame."""

    scale: float
    dx: float
    dy: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale must be positive and finite, got {self.scale}")
        if not (abs(self.dx) <= MAX_SHIFT and abs(self.dy) <= MAX_SHIFT):
            raise ValueError(f"dx and dy are shares of the frame within {MAX_SHIFT}, got {self.dx}, {self.dy}")


def identity_alignment() -> Alignment:
    """The alignment that moves nothing: driving video and reference are of one clip."""
    return Alignment(scale=1.0, dx=0.0, dy=0.0)


def align(driving: PersonTrack, reference: PersonTrack) -> Alignment:
    """One scale and translation that lay the driving person over the reference person.

    Both people may hold any pose, so nothing here looks at the extent of the body, which raised arms change. Scale:
    size of the face if both show one, else root of the mask's area. Anchor: across, halfway between the face's
    center and the column that halves the mask's area; down, the face's center; without faces, the column and the row
    that halve the area. Each is the median over the driving frames.
    Raises: UserError if the reference has several frames, or if either shows no person.
    Source: Beyond Skeletons, location cue (alignment of StableAnimator: one scale and translation per clip).
    Deviation: from masks and face boxes instead of skeletons; the same scale in x and y."""
    if reference.num_frames != 1:
        raise UserError(f"the reference must be one image, got {reference.num_frames} frames")
    by_face = bool(_sees_face(driving).any() and _sees_face(reference).any())
    moving, still = _Layout.of(driving, "driving video", by_face), _Layout.of(reference, "reference image", by_face)
    scale = min(max(still.side / moving.side, MIN_SCALE), MAX_SCALE)
    return Alignment(scale, still.x - scale * moving.x, still.y - scale * moving.y)


def warp_masks(
    masks: UInt8[np.ndarray, "f h w"], alignment: Alignment, out_size: CanvasSize
) -> UInt8[np.ndarray, "f out_h out_w"]:
    """Masks in the reference's layout, 0..255; zero where the driving frame does not reach."""
    height, width = height_width(out_size)
    step = 1 / alignment.scale
    x_start, y_start = -alignment.dx * width * step, -alignment.dy * height * step
    to_driving = np.array([[step, 0, x_start + (step - 1) / 2], [0, step, y_start + (step - 1) / 2]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = [cv2.warpAffine(mask, to_driving, (width, height), flags=flags) for mask in resize(masks, out_size)]
    return np.asarray(np.stack(warped), np.uint8)


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

    Source: Beyond Skeletons, location cue (softening is stated for the body mask alone)."""
    body = soften(warp_masks(driving.mask, alignment, size), spec.soften_cells)
    return body, _face_masks(driving, alignment, size)


def _face_masks(driving: PersonTrack, alignment: Alignment, size: CanvasSize) -> UInt8[np.ndarray, "f h w"]:
    height, width = height_width(size)
    shift = np.array([alignment.dx, alignment.dy] * 2)
    edges = (_face_shares(driving) * alignment.scale + shift) * [width, height, width, height]
    masks = np.zeros((driving.num_frames, height, width), np.uint8)
    for i in np.flatnonzero(_sees_face(driving)):
        x0, y0, x1, y1 = np.clip(np.rint(edges[i]), 0, [width, height, width, height]).astype(int)
        masks[i, y0:y1, x0:x1] = 255
    return masks


@dataclass(frozen=True)
class _Layout:
    """Typical size and place of a person over a track, in shares of the frame."""

    side: float
    x: float
    y: float

    @classmethod
    def of(cls, track: PersonTrack, name: str, by_face: bool) -> "_Layout":
        usable = track.mask.any(axis=(1, 2)) & (_sees_face(track) | (not by_face))
        if not usable.any():
            raise UserError(f"no person is visible in the {name}; give one that shows a person")
        per_frame = _face_layout(track) if by_face else _body_layout(track)
        side, x, y = np.median(per_frame[usable], axis=0)
        return cls(float(side), float(x), float(y))


def _face_layout(track: PersonTrack) -> Float64[np.ndarray, "f 3"]:
    x0, y0, x1, y1 = _face_shares(track).T
    side = np.sqrt(np.abs((x1 - x0) * (y1 - y0)))
    x = ((x0 + x1) / 2 + _median_coordinate(track.mask.sum(axis=1))) / 2
    return np.stack([side, x, (y0 + y1) / 2], axis=1)


def _body_layout(track: PersonTrack) -> Float64[np.ndarray, "f 3"]:
    side = np.sqrt(track.mask.mean(axis=(1, 2)) / 255)
    x, y = _median_coordinate(track.mask.sum(axis=1)), _median_coordinate(track.mask.sum(axis=2))
    return np.stack([side, x, y], axis=1)


def _median_coordinate(weights: Integer[np.ndarray, "f n"]) -> Float64[np.ndarray, " f"]:
    """Where a line splits the weights in halves, as a share of their extent (0..1), to a fraction of a pixel."""
    below = np.pad(np.cumsum(weights, axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    edges = np.linspace(0, 1, below.shape[1])
    return np.array([np.interp(row[-1] / 2, row, edges) for row in below])


def _face_shares(track: PersonTrack) -> Float64[np.ndarray, "f 4"]:
    height, width = track.size
    return track.face_box.astype(np.float64) / [width, height, width, height]


def _sees_face(track: PersonTrack) -> Bool[np.ndarray, " f"]:
    return face_seen(track.face_box, track.size)
