"""Following one of several people: who is chosen, and how they are told from those who cross their way.

Knows no net: whoever finds bodies stands behind `BodyFinder`."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from directanimator.perception.region import Point, Square

SAME_LOOK = 0.6
"""Overlap of color histograms from which a body is taken for the followed one without a look at others."""
OTHER_LOOK = 0.35
"""Overlap below which a body is somebody else, wherever it stands."""
MAX_STEP = 0.5
"""Farthest that a body moves from one frame to the next, in sides of its region."""
MAX_GROWTH = 1.5
"""Most that a region grows or shrinks from one frame to the next."""
SEARCH_PERIOD = 8
"""A lost person is searched for with the finder's small-people mode in every eighth frame, since that is slow."""
_CENTRALITY = 0.5
"""Weight that a person at the border of the frame loses against one in its middle, when one is chosen."""
_LEARNING_RATE = 0.05
"""How fast the remembered look follows the light."""


@dataclass(frozen=True, eq=False)
class Body:
    """A body found in a frame: its region, landmarks in frame pixels, the region's mask 0..1, presence 0..1."""

    region: Square
    next_region: Square
    """Where the body is looked for in the next frame."""
    head: Square
    landmarks: Float32[np.ndarray, "k 2"]
    """Of LANDMARKS; NaN where one is not seen."""
    mask: Float32[np.ndarray, "s s"]
    presence: float
    look: Float32[np.ndarray, " bins"]
    """Histogram of the colors inside the mask; its sum is 1."""


@runtime_checkable
class BodyFinder(Protocol):
    """Nets that find bodies."""

    def find(self, frame: UInt8[np.ndarray, "h w 3"], small: bool) -> list[Body]:
        """All bodies of a frame, the surest first; with `small` also those that are small in it."""
        ...

    def look(self, frame: UInt8[np.ndarray, "h w 3"], region: Square) -> Body | None:
        """The body of a region, if there is one."""
        ...


Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 as shares of the frame."""


class Follower:
    """One person of a clip, frame by frame: the largest and most central one, or the one whose box is given.

    Once chosen, nobody else is ever taken for this person: rather a frame has none. Keeps the state of one clip."""

    def __init__(self, finder: BodyFinder, box: Box | None = None) -> None:
        self._finder = finder
        self._box = box
        self._last: Body | None = None
        self._look: Float32[np.ndarray, " bins"] | None = None
        self._lost = 0

    def follow(self, frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Iterator[Body | None]:
        """The person in each frame; None where they are not seen. A picture shown twice is looked at once."""
        last_frame: UInt8[np.ndarray, "h w 3"] | None = None
        body: Body | None = None
        for frame in frames:
            if frame is not last_frame:
                body = self._step(frame)
                last_frame = frame
            yield body

    def _step(self, frame: UInt8[np.ndarray, "h w 3"]) -> Body | None:
        body = self._followed(frame) if self._look is not None else self._chosen(frame)
        self._lost = 0 if body else self._lost + 1
        if body:
            self._last = body
            known = body.look if self._look is None else self._look
            self._look = (known + _LEARNING_RATE * (body.look - known)).astype(np.float32)
        return body

    def _searched(self, frame: UInt8[np.ndarray, "h w 3"]) -> list[Body]:
        return self._finder.find(frame, small=self._lost % SEARCH_PERIOD == 0)

    def _chosen(self, frame: UInt8[np.ndarray, "h w 3"]) -> Body | None:
        """The person that the clip is about. Where a box is given, they must be in it."""
        found, box = self._searched(frame), self._box
        if box is not None:
            inside = [body for body in found if _overlap(body.region, box, frame.shape) > 0]
            return max(inside, key=lambda body: _overlap(body.region, box, frame.shape), default=None)
        return max(found, key=lambda body: prominence(body.region, frame.shape), default=None)

    def _followed(self, frame: UInt8[np.ndarray, "h w 3"]) -> Body | None:
        near = self._finder.look(frame, self._last.next_region) if self._last and not self._lost else None
        if near and self._is_continuous(near) and self._likeness(near) >= SAME_LOOK:
            return near
        others = self._searched(frame)
        if near and self._is_continuous(near):
            others.append(near)
        alike = [body for body in others if self._likeness(body) >= OTHER_LOOK and self._is_reachable(body)]
        return max(alike, key=self._likeness, default=None)

    def _likeness(self, body: Body) -> float:
        """Overlap of the body's colors with the remembered ones, in [0, 1]."""
        return 1.0 if self._look is None else float(np.minimum(body.look, self._look).sum())

    def _is_continuous(self, body: Body) -> bool:
        return self._is_within(body, 1)

    def _is_reachable(self, body: Body) -> bool:
        """Whether the person can have come there since they were last seen."""
        return self._is_within(body, 1 + self._lost)

    def _is_within(self, body: Body, frames: int) -> bool:
        """Whether the person can have come there in that many frames. By logarithms: a power would overflow."""
        if self._last is None:
            return True
        before, now = self._last.next_region, body.region
        distance = float(np.linalg.norm(now.center - before.center))
        growth = abs(math.log(now.side / before.side))
        return distance <= frames * MAX_STEP * before.side and growth <= frames * math.log(MAX_GROWTH)


def prominence(region: Square, shape: Sequence[int]) -> float:
    """How much a picture is about a region: its side in frame diagonals, less for one away from the middle."""
    height, width = shape[:2]
    diagonal = math.hypot(height, width)
    away = float(np.linalg.norm(region.center - np.array([width / 2, height / 2], np.float32))) / (diagonal / 2)
    return region.side / diagonal * (1 - _CENTRALITY * min(away, 1.0))


def _overlap(region: Square, box: Box, shape: Sequence[int]) -> float:
    """Intersection over union of the region's bounds and a box in shares of the frame."""
    height, width = shape[:2]
    wanted = np.array(box) * [width, height, width, height]
    bounds = region.bounds()
    sides = np.minimum(bounds[2:], wanted[2:]) - np.maximum(bounds[:2], wanted[:2])
    shared = float(sides.clip(0).prod())
    return shared / (float((bounds[2:] - bounds[:2]).prod() + (wanted[2:] - wanted[:2]).prod()) - shared)


def look_of(pixels: UInt8[np.ndarray, "s s 3"], inside: Bool[np.ndarray, "s s"]) -> Float32[np.ndarray, " bins"]:
    """Histogram of the colors inside, 4 levels a channel; the sum is 1. Uniform where nothing is inside.

    Every fourth pixel along each side: enough for a histogram."""
    coarse, chosen = pixels[::4, ::4] >> 6, inside[::4, ::4]
    codes = (coarse[..., 0] << 4) | (coarse[..., 1] << 2) | coarse[..., 2]
    counts = np.bincount(codes[chosen], minlength=64).astype(np.float32)
    total = float(counts.sum())
    return counts / np.float32(total) if total else np.full(64, 1 / 64, np.float32)


def distinct(bodies: Iterable[Body]) -> list[Body]:
    """The bodies without repetitions: of regions that show the same body, the first stays."""
    kept: list[Body] = []
    for body in bodies:
        if not any(_is_same(body, other) for other in kept):
            kept.append(body)
    return kept


def _is_same(body: Body, other: Body) -> bool:
    both_seen = np.isfinite(body.landmarks).all(axis=1) & np.isfinite(other.landmarks).all(axis=1)
    if not both_seen.any():
        return float(np.linalg.norm(body.region.center - other.region.center)) < 0.1 * body.region.side
    apart: Point = np.linalg.norm(body.landmarks[both_seen] - other.landmarks[both_seen], axis=1)
    return float(np.median(apart)) < 0.05 * max(body.region.side, other.region.side)
