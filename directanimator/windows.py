"""Sliding windows over a video of any length: their plan, their weights, their blend, and how well they agree.

Knows nothing of people, cues or models. A blended frame is given out, and a window let go, as early as can be, so
memory does not grow with the video."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, UInt8

from directanimator.errors import UserError

OVERLAP_SHARE = 4
"""Neighboring windows share one frame in so many by default."""


@dataclass(frozen=True)
class Window:
    """What the model makes in one go."""

    frames: tuple[int, ...]
    """Numbers of the clip's frames; the last one repeated where the clip is shorter than the window."""
    start: int
    stop: int
    """The frames start..stop - 1 of the clip are shown."""


def default_overlap(length: int) -> int:
    """Frames that neighboring windows of `length` frames share if nobody says otherwise."""
    return min(max(1, length // OVERLAP_SHARE), length - 1)


def plan_windows(count: int, length: int, overlap: int) -> list[Window]:
    """Windows of `length` frames over a clip, each sharing `overlap` frames with the next.

    The last one is moved back to end with the clip, and so shares more.
    Raises: UserError unless 0 <= overlap < length."""
    if not 0 <= overlap < length:
        raise UserError(f"overlap={overlap}: want 0..{length - 1} frames, less than the window of {length} frames")
    last = max(count - length, 0)
    starts = [*range(0, last, length - overlap), last]
    return [
        Window(
            frames=tuple(min(start + k, count - 1) for k in range(length)),
            start=start,
            stop=min(start + length, count),
        )
        for start in starts
    ]


def window_weights(windows: Sequence[Window]) -> list[Float64[np.ndarray, " l"]]:
    """Each window's share in the frames it shows: ramps where neighbors overlap; together 1 at every frame.

    A ramp never reaches 0 or 1, so that every window which shows a frame has a say in it."""
    raw = [_ramps(windows, number) for number in range(len(windows))]
    total = np.zeros(windows[-1].stop)
    for window, weights in zip(windows, raw, strict=True):
        total[window.start : window.stop] += weights
    return [weights / total[window.start : window.stop] for window, weights in zip(windows, raw, strict=True)]


def _ramps(windows: Sequence[Window], number: int) -> Float64[np.ndarray, " l"]:
    window = windows[number]
    weights = np.ones(window.stop - window.start)
    rise = windows[number - 1].stop - window.start if number else 0
    fall = window.stop - windows[number + 1].start if number + 1 < len(windows) else 0
    weights[:rise] *= np.arange(1, rise + 1) / (rise + 1)
    weights[len(weights) - fall :] *= np.arange(fall, 0, -1) / (fall + 1)
    return weights


@dataclass(frozen=True)
class SeamReport:
    """How windows fit together; changes and disagreement are mean absolute differences in levels of 0..255."""

    seam_change: float
    """From frame to frame where two windows blend, or meet without an overlap; NaN of one window."""
    interior_change: float
    """From frame to frame inside a window; NaN where there is none."""
    disagreement: float
    """Between two windows' own versions of a frame that both show; NaN without an overlap."""
    drift: tuple[float, ...]
    """By window, how far its mean color is from the first window's, in levels of 0..255."""

    @property
    def change_ratio(self) -> float:
        """Change at seams in changes of the interior: 1 where a seam cannot be told."""
        return self.seam_change / self.interior_change if self.interior_change else math.nan


@dataclass
class _Mean:
    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1

    @property
    def value(self) -> float:
        return self.total / self.count if self.count else math.nan


@dataclass
class Seams:
    """What is seen of windows and their blend while it is made; constant in size but for one color a window."""

    _changes: dict[bool, _Mean] = field(default_factory=lambda: {True: _Mean(), False: _Mean()})
    _disagreement: _Mean = field(default_factory=_Mean)
    _colors: list[Float64[np.ndarray, " 3"]] = field(default_factory=list)

    def see_window(self, frames: UInt8[np.ndarray, "l h w 3"]) -> None:
        """Nothing; takes down what a window shows."""
        self._colors.append(frames.mean(axis=(0, 1, 2)))

    def see_overlap(self, one: UInt8[np.ndarray, "h w 3"], other: UInt8[np.ndarray, "h w 3"]) -> None:
        """Nothing; takes down two windows' versions of one frame."""
        self._disagreement.add(_difference(one, other))

    def see_change(self, before: UInt8[np.ndarray, "h w 3"], after: UInt8[np.ndarray, "h w 3"], at_seam: bool) -> None:
        """Nothing; takes down a step from one frame of the blend to the next."""
        self._changes[at_seam].add(_difference(before, after))

    def report(self) -> SeamReport:
        """What was seen so far."""
        return SeamReport(
            seam_change=self._changes[True].value,
            interior_change=self._changes[False].value,
            disagreement=self._disagreement.value,
            drift=tuple(float(np.abs(color - self._colors[0]).mean()) for color in self._colors),
        )


def _difference(one: UInt8[np.ndarray, "h w 3"], other: UInt8[np.ndarray, "h w 3"]) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


def blended(
    windows: Sequence[Window],
    make: Callable[[Window], UInt8[np.ndarray, "l h w 3"]],
    seams: Seams | None = None,
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The frames of the clip in order; where windows overlap, their weighted mean.

    A window is made when the first frame of it is asked for, and forgotten after its last one."""
    weights = window_weights(windows)
    held: list[tuple[Window, np.ndarray, np.ndarray]] = []
    waiting = list(zip(windows, weights, strict=True))
    before: tuple[np.ndarray, bool] | None = None
    for k in range(windows[-1].stop):
        begins = bool(waiting) and waiting[0][0].start <= k
        while waiting and waiting[0][0].start <= k:
            window, share = waiting.pop(0)
            held.append((window, make(window), share))
            if seams:
                seams.see_window(held[-1][1][: window.stop - window.start])
        held = [entry for entry in held if k < entry[0].stop]
        shown = [(frames[k - window.start], share[k - window.start]) for window, frames, share in held]
        frame = _weighted(shown)
        if seams:
            for (one, _), (other, _) in pairwise(shown):
                seams.see_overlap(one, other)
            at_seam = len(shown) > 1
            if before is not None:
                seams.see_change(before[0], frame, at_seam or before[1] or begins)
            before = frame, at_seam
        yield frame


def _weighted(shown: Sequence[tuple[UInt8[np.ndarray, "h w 3"], float]]) -> UInt8[np.ndarray, "h w 3"]:
    if len(shown) == 1:
        return shown[0][0]
    total = sum(frame.astype(np.float64) * weight for frame, weight in shown)
    return np.asarray(np.rint(total), np.uint8)
