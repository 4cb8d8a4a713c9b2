"""Ways to spoil a true clip, each in strengths 0 (not at all) to 5: what metrics are asked to see."""

from typing import get_args

import cv2
import numpy as np
from jaxtyping import UInt8

from directanimator.metrics.catalog import Degradation

DEGRADATIONS: tuple[Degradation, ...] = get_args(Degradation)
STRENGTHS = range(6)
_NOISE = (0, 4, 8, 16, 32, 64)
"""Standard deviation in gray levels."""
_BLUR = (0, 0.5, 1, 2, 4, 8)
"""Standard deviation in pixels."""
_SHIFT = (0, 1, 2, 4, 8, 16)
"""Pixels to the right, the same in all frames; the left border is repeated."""
_SWAPPED = (0, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Share of frames, evenly spread, that show another person doing the same."""
_SHUFFLED = (0, 0.2, 0.4, 0.6, 0.8, 1)
"""Share of frames that trade places."""
_SLIDE = (0, 4, 8, 16, 32, 64)
"""Levels by which red has risen and blue has fallen in the last frame, starting from nothing in the first."""

Frames = UInt8[np.ndarray, "f h w 3"]


def degraded(frames: Frames, kind: Degradation, strength: int, other: Frames, seed: int) -> Frames:
    """The clip spoiled by `strength` 0..5 of one kind; strength 0 is the clip itself. `other` is another person's clip.

    A stronger one spoils at least the frames of a weaker one, with the same random numbers.
    Raises: ValueError for a strength outside 0..5, or if the two clips differ in shape."""
    if strength not in STRENGTHS:
        raise ValueError(f"strength {strength}: want 0..{STRENGTHS[-1]}")
    if frames.shape != other.shape:
        raise ValueError(f"clips must have one shape, got {frames.shape} and {other.shape}")
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return _bytes(frames + _NOISE[strength] * rng.standard_normal(frames.shape))
    if kind == "blur":
        sigma = _BLUR[strength]
        return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames]) if sigma else frames.copy()
    if kind == "shift":
        return _shifted(frames, _SHIFT[strength])
    if kind == "identity_swap":
        return _swapped(frames, other, round(_SWAPPED[strength] * len(frames)))
    if kind == "frame_shuffle":
        return _shuffled(frames, round(_SHUFFLED[strength] * len(frames)), rng)
    slide = np.linspace(0, _SLIDE[strength], len(frames))[:, None, None, None] * np.array([1, 0, -1])
    return _bytes(frames + slide)


def _bytes(values: np.ndarray) -> Frames:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def _shifted(frames: Frames, pixels: int) -> Frames:
    width = frames.shape[2]
    return np.pad(frames, ((0, 0), (0, 0), (pixels, 0), (0, 0)), mode="edge")[:, :, :width]


def _swapped(frames: Frames, other: Frames, count: int) -> Frames:
    """Every so many frames another person: places are those of a van der Corput sequence, so that sets are nested."""
    places = sorted(range(len(frames)), key=_reversed_bits)
    made = frames.copy()
    made[places[:count]] = other[places[:count]]
    return made


def _reversed_bits(number: int) -> float:
    value, share = 0.0, 0.5
    while number:
        value, number, share = value + share * (number & 1), number >> 1, share / 2
    return value


def _shuffled(frames: Frames, count: int, rng: np.random.Generator) -> Frames:
    """The first `count` frames of a random order trade places in a circle."""
    places = rng.permutation(len(frames))[:count]
    made = frames.copy()
    made[places] = frames[np.roll(places, 1)]
    return made
