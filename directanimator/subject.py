"""Which frames of a video are looked at, and which square of them: the way from a file's frames to a model's and back.

Knows nothing of models."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from directanimator.cues.canvas import resize
from directanimator.cues.framing import person_box, plan_crop
from directanimator.cues.person import PersonTrack
from directanimator.perception.person import PersonPerception, require_person

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
