"""Faces in time: expression weights and gaze, independent of the body that wears them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from directanimator.data.synthetic.timeline import DURATION, FULL_TURN, GRID

EXPRESSIONS = (
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "mouthSmileLeft",
    "mouthSmileRight",
    "browOuterUpLeft",
    "browOuterUpRight",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "jawOpen",
    "mouthPucker",
)
"""The face units that all motions drive (ARKit names)."""
ACCENTS = (
    "eyeWideLeft",
    "eyeWideRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "noseSneerLeft",
    "noseSneerRight",
    "jawLeft",
    "jawRight",
    "mouthFunnel",
    "cheekPuff",
)
"""Further face units, at rest but in the kinds `talk` and `grimace`."""


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """A face on the grid of `timeline`."""

    expression: Float64[np.ndarray, "f e"]
    """Strength in [0, 1] of EXPRESSIONS."""
    accent: Float64[np.ndarray, "f a"]
    """Strength in [0, 1] of ACCENTS."""
    gaze: Float64[np.ndarray, "f 2"]
    """Radians to the person's left and up."""


def _wander(rng: np.random.Generator) -> np.ndarray:
    """(f,) a slow clipped sine in [0, 1]."""
    return np.clip(0.5 + 0.9 * np.sin(FULL_TURN * rng.uniform(0.15, 0.6) * GRID + rng.uniform(0, FULL_TURN)), 0, 1)


def _blinks(rng: np.random.Generator) -> np.ndarray:
    moments = np.arange(rng.uniform(0.2, 1.5), DURATION, rng.uniform(1.2, 2.5))
    return np.exp(-(((GRID[:, None] - moments) / 0.12) ** 2)).sum(1).clip(0, 1)


def _expressions(rng: np.random.Generator) -> np.ndarray:
    smile, jaw, brow = _wander(rng), _wander(rng) ** 2 * rng.uniform(0.2, 1), _wander(rng)
    frown, pucker, cheer = _wander(rng) ** 3, _wander(rng) ** 4, rng.random()
    blink, down = _blinks(rng), (1 - brow) * 0.6 * frown
    strength = {"eyeBlink": blink, "mouthSmile": smile * cheer, "browOuterUp": 0.8 * brow, "browDown": down}
    strength |= {"browInnerUp": 0.7 * brow, "jawOpen": jaw, "mouthPucker": pucker * (1 - cheer)}
    return np.stack([strength[name.removesuffix("Left").removesuffix("Right")] for name in EXPRESSIONS], axis=1)


def _weights(strength: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    """(f, n) the strength of each unit, both sides alike unless a side is named; 0 for units without one."""
    rest = np.zeros(len(GRID))
    rows = [strength.get(name, strength.get(name.removesuffix("Left").removesuffix("Right"), rest)) for name in names]
    return np.clip(np.stack(rows, axis=1), 0, 1)


def _events(rng: np.random.Generator, every: float, length: float) -> np.ndarray:
    """(f, 8) soft windows in turn, about `every` seconds apart: how strongly each of eight faces is worn."""
    faces, moments = np.zeros((len(GRID), 8)), np.arange(rng.uniform(0, every), DURATION + every, every)
    for moment in moments:
        window = np.exp(-(((GRID - moment) / length) ** 4))
        faces[:, rng.integers(8)] += window
    return faces.clip(0, 1)


def by_chance(rng: np.random.Generator, phase: float) -> FaceTrack:
    """Blinks, and slow wandering of smile, jaw and brows: what motions drawn by index wear."""
    gaze = np.stack([0.35 * np.sin(FULL_TURN * 0.3 * GRID + phase), 0.15 * np.sin(FULL_TURN * 0.23 * GRID)], -1)
    return FaceTrack(_expressions(rng), np.zeros((len(GRID), len(ACCENTS))), gaze)


def _drifting_gaze(rng: np.random.Generator, reach: float) -> np.ndarray:
    """(f, 2) gaze that rests and jumps, as eyes do."""
    targets = rng.uniform(-1, 1, (24, 2)) * [reach, 0.5 * reach]
    position = GRID * rng.uniform(1.0, 2.0)
    start = position.astype(np.int64)
    share = np.clip((position - start - 0.85) / 0.15, 0, 1)[:, None]
    return targets[start] * (1 - share) + targets[start + 1] * share


def talking(rng: np.random.Generator) -> FaceTrack:
    """A mouth that forms syllables, brows that stress them."""
    syllables = _events(rng, rng.uniform(0.16, 0.24), 0.09)
    strength = {
        "jawOpen": 0.75 * syllables[:, 0] + 0.5 * syllables[:, 1] + 0.3 * syllables[:, 2],
        "mouthPucker": syllables[:, 3] + 0.4 * syllables[:, 4],
        "mouthFunnel": 0.8 * syllables[:, 5],
        "mouthSmile": 0.7 * syllables[:, 6],
        "eyeBlink": _blinks(rng),
        "browOuterUp": 0.6 * _wander(rng) ** 2,
        "browInnerUp": 0.6 * _wander(rng) ** 2,
    }
    return FaceTrack(_weights(strength, EXPRESSIONS), _weights(strength, ACCENTS), _drifting_gaze(rng, 0.3))


def grimacing(rng: np.random.Generator) -> FaceTrack:
    """Strong expressions, in turn: joy, surprise, anger, disgust, sadness, a kiss, a wink, puffed cheeks."""
    joy, surprise, anger, disgust, sad, kiss, wink, puff = _events(rng, rng.uniform(0.6, 0.9), 0.4).T
    strength = {
        "mouthSmile": joy + 0.3 * wink,
        "jawOpen": 0.35 * joy + 0.9 * surprise + 0.3 * anger,
        "eyeSquint": 0.8 * joy + 0.7 * disgust,
        "eyeWide": surprise + 0.5 * anger,
        "browInnerUp": surprise + sad,
        "browOuterUp": surprise,
        "browDown": anger + 0.6 * disgust,
        "noseSneer": disgust + 0.5 * anger,
        "mouthFrown": sad + 0.5 * disgust,
        "mouthPucker": kiss,
        "mouthFunnel": 0.4 * anger,
        "cheekPuff": puff,
        "jawLeft": 0.4 * puff,
        "eyeBlinkLeft": wink,
        "eyeBlinkRight": 0.5 * kiss,
    }
    return FaceTrack(_weights(strength, EXPRESSIONS), _weights(strength, ACCENTS), _drifting_gaze(rng, 0.25))


def looking_around(rng: np.random.Generator) -> FaceTrack:
    """Eyes that search, with little else in the face."""
    strength = {"eyeBlink": _blinks(rng), "eyeWide": 0.5 * _wander(rng), "browOuterUp": 0.5 * _wander(rng) ** 2}
    return FaceTrack(_weights(strength, EXPRESSIONS), _weights(strength, ACCENTS), _drifting_gaze(rng, 0.5))
