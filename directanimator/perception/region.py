"""Where in a frame a net looks, and how its answer is laid back. Pixel 0 spans 0..1."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

_SUPERSAMPLING = 2
"""Samples per pixel of a crop, along each side, where the frame holds that many but not much more."""
_AVERAGED = 3.0
"""Frame pixels per pixel of a crop from which the frame is averaged first, and one sample is enough."""
_COARSEST = 2.0
"""Mask pixels per output pixel beyond which a mask is averaged before it is laid down, or it would alias."""

Point = Float32[np.ndarray, " 2"]


@dataclass(frozen=True)
class View:
    """A part of a frame, in its pixels, and the picture that is made of it. It may reach beyond the frame."""

    left: float
    top: float
    width: float
    height: float
    out_h: int
    out_w: int

    @classmethod
    def whole(cls, height: int, width: int) -> "View":
        """All of a frame, as it is."""
        return cls(0.0, 0.0, float(width), float(height), height, width)

    @property
    def scale(self) -> tuple[float, float]:
        """Output pixels per frame pixel, across and down."""
        return self.out_w / self.width, self.out_h / self.height

    def points(self, points: Float32[np.ndarray, "*n 2"]) -> Float32[np.ndarray, "*n 2"]:
        """Points of the frame, as places in the output."""
        return ((points - [self.left, self.top]) * self.scale).astype(np.float32)

    def boxes(self, boxes: Float32[np.ndarray, "*n 4"]) -> Float32[np.ndarray, "*n 4"]:
        """Boxes x0, y0, x1, y1 of the frame, as places in the output."""
        return ((boxes - [self.left, self.top] * 2) * (self.scale * 2)).astype(np.float32)

    def matrix(self) -> Float64[np.ndarray, "2 3"]:
        """The affine map from pixel indices of the frame to pixel indices of the output."""
        across, down = self.scale
        x, y = (0.5 - self.left) * across - 0.5, (0.5 - self.top) * down - 0.5
        return np.array([[across, 0, x], [0, down, y]])


@dataclass(frozen=True, eq=False)
class Patch:
    """A mask of a part of a frame, 0..255, at its net's own resolution; beyond it there is nobody."""

    levels: UInt8[np.ndarray, "m n"]
    to_frame: Float64[np.ndarray, "2 3"]
    """The affine map from its pixel indices to pixel indices of the frame."""

    @classmethod
    def of_frame(cls, levels: UInt8[np.ndarray, "m n"], height: int, width: int) -> "Patch":
        """A mask of the whole of a frame, of any resolution."""
        rows, columns = levels.shape
        view = View(0.0, 0.0, float(columns), float(rows), height, width)
        return cls(levels, view.matrix())

    def laid(self, view: View) -> UInt8[np.ndarray, "h w"]:
        """The mask as the view shows it."""
        levels, to_frame = self.levels, self.to_frame
        factor = self._reduction(view)
        if factor > 1:
            levels, to_frame = _reduced(levels, to_frame, factor)
        whole = _chained(view.matrix(), to_frame)
        return np.asarray(cv2.warpAffine(levels, whole, (view.out_w, view.out_h), flags=cv2.INTER_LINEAR), np.uint8)

    def _reduction(self, view: View) -> int:
        size = math.sqrt(abs(np.linalg.det(self.to_frame[:, :2])) * math.prod(view.scale))
        return 1 if size * _COARSEST > 1 else max(1, min(math.floor(1 / size), *self.levels.shape))


def _reduced(
    levels: UInt8[np.ndarray, "m n"], to_frame: Float64[np.ndarray, "2 3"], factor: int
) -> tuple[UInt8[np.ndarray, "p q"], Float64[np.ndarray, "2 3"]]:
    rows, columns = (-(-side // factor) * factor for side in levels.shape)
    padded = cv2.copyMakeBorder(
        levels, 0, rows - levels.shape[0], 0, columns - levels.shape[1], cv2.BORDER_CONSTANT, value=0.0
    )
    small = cv2.resize(padded, (columns // factor, rows // factor), interpolation=cv2.INTER_AREA)
    to_fine = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2]])
    return np.asarray(small, np.uint8), _chained(to_frame, to_fine)


def _chained(second: Float64[np.ndarray, "2 3"], first: Float64[np.ndarray, "2 3"]) -> Float64[np.ndarray, "2 3"]:
    """The affine map that does `first`, then `second`."""
    return np.concatenate([second[:, :2] @ first[:, :2], (second[:, :2] @ first[:, 2] + second[:, 2])[:, None]], axis=1)


@dataclass(frozen=True)
class Square:
    """A square region of a frame, possibly turned and reaching beyond the frame; in pixels."""

    center: Point
    side: float
    up: Point

    @classmethod
    def upright(cls, center: Point, side: float) -> "Square":
        """The square whose sides are parallel to the frame's."""
        return cls(center, side, np.array([0, -1], np.float32))

    @classmethod
    def around_frame(cls, frame: UInt8[np.ndarray, "h w 3"]) -> "Square":
        """The smallest square that holds the whole frame, centered."""
        height, width = frame.shape[:2]
        return cls.upright(np.array([width / 2, height / 2], np.float32), float(max(height, width)))

    @classmethod
    def around_body(cls, center: Point, top: Point, margin: float) -> "Square":
        """The square of `margin` diameters around a body whose circle has this center and this topmost point, turned
        so that it stands."""
        reach = max(float(np.linalg.norm(top - center)), 1.0)
        return cls(center, 2 * reach * margin, ((top - center) / reach).astype(np.float32))

    def to_frame(self, shares: Float32[np.ndarray, "n 2"]) -> Float32[np.ndarray, "n 2"]:
        """Frame pixels of points that are given as shares 0..1 of the square."""
        return np.asarray(self.center + self.side * (shares - 0.5) @ self._axes().T, np.float32)

    def crop(self, frame: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
        """The region at `size` pixels a side; black outside the frame. Shrinking averages, so it does not alias."""
        ratio = self.side / size
        samples = 1 if ratio >= _AVERAGED else min(_SUPERSAMPLING, max(1, round(ratio)))
        factor = max(1, int(ratio / samples))
        source, left, top = self._surroundings(frame, factor)
        if factor > 1:
            source = cv2.resize(source, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        to_source = View(float(left), float(top), float(factor), float(factor), 1, 1).matrix()
        to_pixels = _chained(to_source, self.matrix(size * samples))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        pixels = cv2.warpAffine(source, to_pixels, (size * samples, size * samples), flags=flags)
        return np.asarray(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA), np.uint8)

    def matrix(self, size: int) -> Float64[np.ndarray, "2 3"]:
        """The affine map from pixel indices of a crop of `size` to pixel indices of the frame."""
        axes = self._axes().astype(np.float64) * (self.side / size)
        corner = self.center - axes @ np.full(2, size / 2) + axes @ np.full(2, 0.5) - 0.5
        return np.concatenate([axes, corner[:, None]], axis=1)

    def patch(self, levels: UInt8[np.ndarray, "s s"]) -> Patch:
        """A mask of the region as a mask of its part of the frame."""
        return Patch(levels, self.matrix(len(levels)))

    def bounds(self) -> Float32[np.ndarray, " 4"]:
        """x0, y0, x1, y1 around the square."""
        corners = self.to_frame(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32))
        return np.concatenate([corners.min(axis=0), corners.max(axis=0)])

    def _surroundings(
        self, frame: UInt8[np.ndarray, "h w 3"], factor: int
    ) -> tuple[UInt8[np.ndarray, "p q 3"], int, int]:
        """The part of the frame that the region reaches, sides multiples of `factor`; and its corner.

        Averaging a part costs less than averaging all, and a whole factor less than any other."""
        height, width = frame.shape[:2]
        x0, y0, x1, y1 = (float(edge) for edge in self.bounds())
        left, right = _span(x0 - 2 * factor, x1 + 2 * factor, width, factor)
        top, bottom = _span(y0 - 2 * factor, y1 + 2 * factor, height, factor)
        part = frame[top:bottom, left:right]
        below, beside = bottom - top - part.shape[0], right - left - part.shape[1]
        if below or beside:
            part = cv2.copyMakeBorder(part, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        return part, left, top

    def _axes(self) -> Float32[np.ndarray, "2 2"]:
        """Columns: the directions of the square's rightward and downward sides in the frame."""
        x, y = -self.up
        return np.array([[y, x], [-x, y]], np.float32)


def _span(low: float, high: float, length: int, factor: int) -> tuple[int, int]:
    """Whole pixels from `low` to `high` where the frame has any, in a multiple of `factor`; at least one factor."""
    start = int(min(max(math.floor(low), 0), length - 1))
    stop = int(min(max(math.ceil(high), start + 1), length))
    return start, start + -(-(stop - start) // factor) * factor
