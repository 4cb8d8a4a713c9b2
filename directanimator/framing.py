"""Which frames of a video are looked at, and which square of them: the way from a file's frames to a model's and back.

Knows nothing of models."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from directanimator.cues.canvas import resize
from directanimator.cues.gate import FOREGROUND
from directanimator.cues.person import PersonTrack, face_seen
from directanimator.errors import UserError
from directanimator.perception.person import PersonPerception, require_person

MARGIN = 1.25
"""Side of the square crop in extents of the person, where the frame has room."""
_TINY = 1e-6


# ---------------------------------------------------------------- time: which frames


def shown_at(count: int, fps: float, rate: float) -> Int64[np.ndarray, " k"]:
    """Which of `count` frames at `fps` is on the screen at time k / rate, for as long as the clip lasts."""
    ticks = np.arange(max(1, math.ceil(count / fps * rate - _TINY)))
    return np.minimum(np.floor(ticks * fps / rate + _TINY).astype(np.int64), count - 1)


def nearest_in_time(count: int, fps: float, made: int, rate: float) -> Int64[np.ndarray, " f"]:
    """For each of `count` frames at `fps`, the nearest in time of `made` frames at `rate`."""
    return np.minimum(np.floor(np.arange(count) * rate / fps + 0.5).astype(np.int64), made - 1)


# ---------------------------------------------------------------- space: which part of the frames


@dataclass(frozen=True)
class Crop:
    """A square of whole pixels; where it reaches beyond the frame, the picture is padded."""

    left: int
    top: int
    side: int

    def cut(self, images: UInt8[np.ndarray, "f h w *c"], *, empty_outside: bool) -> UInt8[np.ndarray, "f s s *c"]:
        """The square of each image; beyond the frame zero, or the border repeated."""
        height, width = images.shape[1:3]
        inside = images[:, max(self.top, 0) : self.top + self.side, max(self.left, 0) : self.left + self.side]
        rows = (max(-self.top, 0), max(self.top + self.side - height, 0))
        columns = (max(-self.left, 0), max(self.left + self.side - width, 0))
        padding = [(0, 0), rows, columns, (0, 0)][: images.ndim]
        return np.pad(inside, padding, mode="constant" if empty_outside else "edge")

    def cut_track(self, track: PersonTrack) -> PersonTrack:
        """The person as seen in the square."""
        corner = np.array([self.left, self.top] * 2, np.float32)
        masks = self.cut(track.mask, empty_outside=True)
        return PersonTrack(masks, track.face_box - corner, track.score, track.landmarks - corner[:2])


def person_box(track: PersonTrack) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 in pixels around all that is ever seen of the person, inside the frame.

    Raises: UserError if nothing is."""
    height, width = track.size
    person: np.ndarray = np.any(track.mask >= FOREGROUND, axis=0)
    for x0, y0, x1, y1 in track.face_box[face_seen(track.face_box, track.size)]:
        rows = slice(max(int(y0), 0), min(math.ceil(y1), height))
        person[rows, max(int(x0), 0) : min(math.ceil(x1), width)] = True
    if not person.any():
        raise UserError("no person is clearly visible; want one person, well visible, in most frames")
    x, y = np.flatnonzero(person.any(axis=0)), np.flatnonzero(person.any(axis=1))
    return int(x[0]), int(y[0]), int(x[-1]) + 1, int(y[-1]) + 1


def plan_crop(box: tuple[int, int, int, int], height: int, width: int) -> Crop:
    """The square around a box with a margin; it leaves the frame only where the box does not fit otherwise."""
    x0, y0, x1, y1 = box
    extent = max(x1 - x0, y1 - y0)
    side = max(extent, min(math.ceil(extent * MARGIN), height, width))
    return Crop(_start(x0, x1, side, width), _start(y0, y1, side, height), side)


def _start(low: int, high: int, side: int, length: int) -> int:
    """Where an interval of `side` around low..high begins: inside 0..length if it fits there, else all around it.

    Who is cut off by one border of the frame stays cut off there, instead of ending in mid-air."""
    slack = length - side
    if slack < 0 and (low <= 0) != (high >= length):
        return 0 if low <= 0 else slack
    return min(max((low + high - side) // 2, min(slack, 0)), max(slack, 0))


@dataclass(frozen=True, eq=False)
class Subject:
    """A person in square frames."""

    frames: UInt8[np.ndarray, "f s s 3"]
    track: PersonTrack


def watch(frames: UInt8[np.ndarray, "f h w 3"], perception: PersonPerception, side: int, where: str) -> Subject:
    """The person of a clip in square frames of `side` pixels that hold the person throughout.

    Raises: UserError if there is none."""
    track = perception.track(frames)
    require_person(track, where)
    crop = plan_crop(person_box(track), *track.size)
    cut = crop.cut(frames, empty_outside=False)
    return Subject(resize(cut, side), crop.cut_track(track).resized(side))
