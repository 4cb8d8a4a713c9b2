"""Alignment: one scale and translation per clip that lays the driving person over the reference person."""

import math
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from directanimator.cues.canvas import resize
from directanimator.cues.gate import FOREGROUND
from directanimator.cues.person import PersonTrack
from directanimator.cues.spec import AlignBy
from directanimator.errors import UserError

Image = TypeVar("Image", UInt8[np.ndarray, "h w"], Float32[np.ndarray, "h w"])
"""A mask, or a gray image."""

MIN_SCALE, MAX_SCALE = 0.4, 2.5
"""Legal scales of an alignment; beyond them the masks are not to be trusted."""

MAX_SHIFT = 8.0
"""Largest shift that makes sense, in frame sides; catches shifts given in pixels."""

_LEAST_LANDMARKS = 4
"""Landmarks, at least, that two people must show in common to be compared by them."""
_MISSING_LANDMARKS = 2
"""Landmarks that a frame may show less than the one that shows most, and still be compared with it."""
_LEAST_SPREAD = 1e-9
"""Keeps landmarks that all lie on one point from a division by zero."""
_GRID = 64
"""Side of the masks that are compared: a finer one changes the result by less than people differ in shape."""
_CANDIDATES = 3
"""Driving frames whose alignment is refined, of those that fit best at once."""
_FIRST_STEP, _LAST_STEP = 0.06, 0.004
"""Steps of the search, in frame sides and in shares of the scale."""


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


def warped(image: Image, alignment: Alignment) -> Image:
    """The image in the reference's layout, in its own units; zero where the driving frame does not reach."""
    height, width = image.shape
    step = 1 / alignment.scale
    x_start, y_start = -alignment.dx * width * step, -alignment.dy * height * step
    to_driving = np.array([[step, 0, x_start + (step - 1) / 2], [0, step, y_start + (step - 1) / 2]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, to_driving, (width, height), flags=flags)


def align(driving: PersonTrack, reference: PersonTrack, by: AlignBy) -> Alignment:
    """One scale and translation that lay the driving person over the reference person.

    Where a body stands can only be compared in like poses: an arm that is raised or a knee that is bent moves every
    statistic of a body. So each driving frame is laid over the reference on its own, and the frame that fits best
    decides. A driving video that shows the reference's pose at any time is thus aligned by that moment: give all of
    it. By landmarks, or by masks where less than four landmarks are seen in both.
    Raises: UserError if the reference has several frames, or if either shows no person.
    Source: Beyond Skeletons, location cue (alignment of StableAnimator: one scale and translation per clip).
    Deviation: by the frame of the likest pose instead of least squares over all frames; one scale for x and y."""
    if reference.num_frames != 1:
        raise UserError(f"the reference must be one image, got {reference.num_frames} frames")
    for track, name in ((driving, "driving video"), (reference, "reference image")):
        if not _shows_person(track).any():
            raise UserError(f"no person is visible in the {name}; give one that shows a person")
    found = _by_landmarks(driving, reference) if by == "landmarks" else None
    return found or _by_masks(driving, reference)


def _shows_person(track: PersonTrack) -> Bool[np.ndarray, " f"]:
    """True where a mask has a pixel that counts as person: of a soft edge alone nobody can tell what stands where.

    False also for a speck that the grid does not show."""
    is_clear = (track.mask >= FOREGROUND).any(axis=(1, 2))
    return np.asarray(is_clear & resize(track.mask, _GRID).any(axis=(1, 2)))


def _by_landmarks(driving: PersonTrack, reference: PersonTrack) -> Alignment | None:
    """The least-squares alignment of the frame whose landmarks it leaves nearest; None if none can be trusted."""
    moving, still = _landmark_shares(driving), _landmark_shares(reference)[0]
    common = np.isfinite(moving).all(axis=2) & np.isfinite(still).all(axis=1)
    count = common.sum(axis=1)
    comparable = np.flatnonzero(count >= max(_LEAST_LANDMARKS, count.max() - _MISSING_LANDMARKS))
    fits = [_least_squares(moving[i][common[i]], still[common[i]]) for i in comparable]
    legal = [(error, alignment) for error, alignment in fits if MIN_SCALE < alignment.scale < MAX_SCALE]
    return min(legal, key=lambda fit: fit[0])[1] if legal else None


def _landmark_shares(track: PersonTrack) -> Float64[np.ndarray, "f k 2"]:
    """Landmarks as shares of the frame; NaN outside it."""
    height, width = track.size
    shares = track.landmarks.astype(np.float64) / [width, height]
    return np.where(((shares >= 0) & (shares <= 1)).all(axis=2, keepdims=True), shares, np.nan)


def _least_squares(moving: Float64[np.ndarray, "n 2"], still: Float64[np.ndarray, "n 2"]) -> tuple[float, Alignment]:
    """Root of the mean squared distance that is left, in frame sides, and the alignment."""
    center, aim = moving.mean(axis=0), still.mean(axis=0)
    spread = np.square(moving - center).sum()
    scale = ((moving - center) * (still - aim)).sum() / max(spread, _LEAST_SPREAD)
    alignment = _around(float(scale), (center[0], center[1]), (aim[0], aim[1]))
    left = alignment.scale * moving + [alignment.dx, alignment.dy] - still
    return float(np.sqrt(np.square(left).sum(axis=1).mean())), alignment


def _by_masks(driving: PersonTrack, reference: PersonTrack) -> Alignment:
    """The alignment of most overlap, searched from where center and area of the masks agree."""
    moving, still = _Shape.of_frames(driving), _Shape.of_frames(reference)[0]
    starts = [_by_center_and_area(shape, still) for shape in moving]
    fits = [_fit(shape, still, start) for shape, start in zip(moving, starts, strict=True)]
    likest = np.argsort(fits)[::-1][:_CANDIDATES]
    found = [_searched(moving[i], still, starts[i]) for i in likest]
    return max(found, key=lambda pair: pair[0])[1]


@dataclass(frozen=True, eq=False)
class _Shape:
    """What one frame shows of a person, on the grid; places and the side are shares of the frame."""

    mask: UInt8[np.ndarray, "h w"]
    x: float
    y: float
    side: float
    """Root of the mask's area."""

    @classmethod
    def of_frames(cls, track: PersonTrack) -> list["_Shape"]:
        """The shapes of those frames that show a person."""
        return [cls.of_mask(mask) for mask in resize(track.mask[_shows_person(track)], _GRID)]

    @classmethod
    def of_mask(cls, mask: UInt8[np.ndarray, "h w"]) -> "_Shape":
        total, places = float(mask.sum(dtype=np.int64)), (np.arange(_GRID) + 0.5) / _GRID
        x, y = (float(mask.sum(axis=axis, dtype=np.int64) @ places) / total for axis in (0, 1))
        return cls(mask, x, y, math.sqrt(total / mask.size / 255))


def _around(scale: float, moving: tuple[float, float], still: tuple[float, float]) -> Alignment:
    """The alignment of a scale that takes the place `moving` to the place `still`."""
    bounded = min(max(scale, MIN_SCALE), MAX_SCALE)
    return Alignment(bounded, still[0] - bounded * moving[0], still[1] - bounded * moving[1])


def _by_center_and_area(moving: _Shape, still: _Shape) -> Alignment:
    return _around(still.side / moving.side, (moving.x, moving.y), (still.x, still.y))


def _fit(moving: _Shape, still: _Shape, alignment: Alignment) -> float:
    """Soft intersection over union of the masks, in [0, 1]."""
    laid = warped(moving.mask, alignment)
    union = cv2.max(laid, still.mask).sum(dtype=np.int64)
    return float(cv2.min(laid, still.mask).sum(dtype=np.int64) / union)


def _searched(moving: _Shape, still: _Shape, start: Alignment) -> tuple[float, Alignment]:
    """Fit and alignment after a descent along scale, x and y in halving steps."""
    best, fit, step = start, _fit(moving, still, start), _FIRST_STEP
    while step > _LAST_STEP:
        tried = [(_fit(moving, still, option), option) for option in _neighbors(best, moving, step)]
        better, option = max(tried, key=lambda pair: pair[0])
        if better > fit:
            best, fit = option, better
        else:
            step /= 2
    return fit, best


def _neighbors(alignment: Alignment, moving: _Shape, step: float) -> list[Alignment]:
    """One step along each axis; the scale changes about the person's center, so that the axes hardly interact."""
    center = (moving.x, moving.y)
    x, y = (alignment.scale * at + shift for at, shift in zip(center, (alignment.dx, alignment.dy), strict=True))
    moves = [(step, 0.0), (-step, 0.0), (0.0, step), (0.0, -step)]
    shifted = [_around(alignment.scale, center, (x + right, y + down)) for right, down in moves]
    scaled = [_around(alignment.scale * factor, center, (x, y)) for factor in (1 + step, 1 / (1 + step))]
    return shifted + scaled
