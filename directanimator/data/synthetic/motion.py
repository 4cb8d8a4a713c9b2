"""Motions without a body: limb directions, joint angles and face tracks that any identity can perform."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from directanimator.data.synthetic.face import FaceTrack, by_chance, grimacing, looking_around, talking
from directanimator.data.synthetic.splits import NUM_MOTIONS, Split, check_index, random_stream
from directanimator.data.synthetic.timeline import DURATION, FULL_TURN, GRID, GRID_HZ
from directanimator.errors import UserError

Kind = Literal[
    "walk",
    "wave",
    "squat",
    "jack",
    "turn",
    "gesture",
    "dance",
    "dance_turn",
    "complex",
    "talk",
    "grimace",
    "look_around",
]
KIND_WEIGHTS: dict[Kind, float] = {
    "gesture": 0.24,
    "dance": 0.22,
    "dance_turn": 0.14,
    "wave": 0.13,
    "jack": 0.09,
    "complex": 0.07,
    "turn": 0.05,
    "walk": 0.04,
    "squat": 0.02,
}
"""How often each kind is drawn by index; the other kinds are made by name."""

LIMBS = ("upperarm_l", "upperarm_r", "lowerarm_l", "lowerarm_r", "thigh_l", "thigh_r", "calf_l", "calf_r")
"""The order of limb directions."""

_Vector = tuple[float, float, float]
# Upper arm and forearm of the left side (+x); the right side is the mirror image.
_ARM_POSES: dict[str, tuple[_Vector, _Vector]] = {
    "down": ((0.18, -1, 0.02), (0.1, -1, 0.15)),
    "level": ((1, 0, 0), (1, 0, 0)),
    "up": ((0.25, 1, 0.05), (0.1, 1, 0.05)),
    "vee": ((0.8, 0.75, 0), (0.7, 0.8, 0.1)),
    "goal_post": ((1, -0.05, 0.1), (0.05, 1, 0.15)),
    "scarecrow": ((1, 0, 0), (0.1, -1, 0.1)),
    "hip": ((0.75, -0.75, -0.25), (-0.75, -0.6, 0.35)),
    "front": ((0.15, -0.05, 1), (0, 0, 1)),
    "cross": ((0.3, -0.75, 0.6), (-0.95, 0.15, 0.45)),
    "head": ((0.85, 0.45, 0.1), (-0.75, 0.7, 0.05)),
    "face": ((0.5, -0.6, 0.6), (-0.45, 0.85, 0.35)),
    "flex": ((1, 0.1, 0), (-0.25, 1, 0)),
    "back": ((0.35, -0.9, -0.5), (0, -0.95, -0.2)),
    "point": ((0.95, 0.45, 0.3), (0.95, 0.5, 0.3)),
    "chest": ((0.6, -0.65, 0.35), (-0.8, 0.25, 0.5)),
    "low_out": ((0.7, -0.7, 0.1), (0.75, -0.65, 0.2)),
    "reach_across": ((-0.3, 0, 0.95), (-0.7, 0.1, 0.7)),
    "wave": ((0.75, -0.25, 0.25), (0.45, 0.9, 0.15)),
}
# Thigh and calf of the left side.
_LEG_POSES: dict[str, tuple[_Vector, _Vector]] = {
    "stand": ((0.06, -1, 0.02), (0.03, -1, -0.02)),
    "wide": ((0.35, -1, 0.02), (0.2, -1, -0.04)),
    "squat": ((0.45, -0.45, 0.85), (0.1, -1, -0.35)),
    "half_squat": ((0.3, -0.8, 0.5), (0.1, -1, -0.4)),
    "knee_up": ((0.1, 0.05, 1), (0.05, -1, -0.05)),
    "kick": ((0.1, -0.25, 1), (0.08, -0.2, 1)),
    "back_kick": ((0.06, -1, -0.1), (0.05, -0.35, -1)),
    "side": ((0.9, -0.7, 0.1), (0.85, -0.75, 0)),
    "lunge_front": ((0.12, -0.5, 0.85), (0.05, -1, -0.1)),
    "lunge_back": ((0.1, -0.85, -0.55), (0.05, -0.55, -0.85)),
    "step_front": ((0.08, -1, 0.35), (0.04, -1, 0.05)),
    "step_back": ((0.08, -1, -0.3), (0.04, -1, -0.4)),
    "crossed": ((-0.18, -1, 0.1), (-0.12, -1, 0)),
}
_OOD_ARM_POSES: dict[str, tuple[_Vector, _Vector]] = {
    "salute": ((0.8, 0.1, 0.45), (-0.8, 0.55, 0.2)),
    "archer": ((0.9, 0.1, 0.2), (-0.95, 0.1, 0.3)),
    "halo": ((0.55, 0.85, 0.1), (-0.6, 0.75, 0.2)),
    "shelf": ((0.45, -0.85, 0.25), (0.35, 0.05, 0.95)),
}
_OOD_LEG_POSES: dict[str, tuple[_Vector, _Vector]] = {
    "flamingo": ((0.5, -0.75, 0.5), (-0.75, -0.6, -0.3)),
    "curtsy": ((-0.3, -0.9, -0.25), (-0.2, -0.75, -0.6)),
    "scissors": ((0.3, -0.9, 0.45), (0.3, -0.9, 0.35)),
}
"""Key poses of test_ood alone."""
_OOD_STANCES = (
    ("flamingo", "stand"),
    ("stand", "flamingo"),
    ("curtsy", "half_squat"),
    ("half_squat", "curtsy"),
    ("scissors", "step_back"),
    ("step_back", "scissors"),
)
_OOD_KIND_WEIGHTS: dict[Kind, float] = {"gesture": 0.3, "dance": 0.35, "dance_turn": 0.2, "complex": 0.15}
_STANCES = (
    ("stand", "stand"),
    ("wide", "wide"),
    ("stand", "knee_up"),
    ("knee_up", "stand"),
    ("half_squat", "half_squat"),
    ("stand", "side"),
    ("side", "stand"),
    ("lunge_front", "lunge_back"),
    ("lunge_back", "lunge_front"),
    ("step_front", "step_back"),
    ("step_back", "step_front"),
    ("crossed", "stand"),
    ("wide", "half_squat"),
    ("stand", "back_kick"),
)
_WILD_STANCES = (("squat", "squat"), ("kick", "stand"), ("stand", "kick"), ("side", "half_squat"))
_RESTING_ARMS = ("down", "hip", "chest", "low_out", "back")


@dataclass(frozen=True, eq=False)
class PoseTrack:
    """Poses at f instants. Angles are radians about x, y, z; lengths are meters."""

    directions: Float64[np.ndarray, "f 8 3"]
    """Unit directions of LIMBS: arms in the chest's frame, legs in the pelvis's frame."""
    torso: Float64[np.ndarray, "f 3"]
    head: Float64[np.ndarray, "f 3"]
    pelvis: Float64[np.ndarray, "f 3"]
    yaw: Float64[np.ndarray, " f"]
    """Heading of the whole body; 0 faces the camera."""
    hop: Float64[np.ndarray, " f"]
    """Height of the lowest foot over the floor, as a share of body height."""
    sway: Float64[np.ndarray, " f"]
    curl: Float64[np.ndarray, " f"]
    gaze: Float64[np.ndarray, "f 2"]
    expression: Float64[np.ndarray, "f e"]
    """Strength in [0, 1] of EXPRESSIONS."""
    accent: Float64[np.ndarray, "f a"]
    """Strength in [0, 1] of ACCENTS."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Six seconds of motion that may be sampled at any instant."""

    split: Split
    index: int
    kind: Kind
    track: PoseTrack
    """The motion on a regular grid."""

    def pose(self, times: Float64[np.ndarray, " f"]) -> PoseTrack:
        """The poses at the given seconds, linear between grid points.

        Raises: UserError when a time lies outside [0, 6]."""
        if times.size and not (times.min() >= 0 and times.max() <= DURATION):
            raise UserError(f"motion times {times.min():.3f} to {times.max():.3f} s: legal are 0 to {DURATION} s")
        position = times * GRID_HZ
        left = np.minimum(position.astype(np.int64), len(GRID) - 2)
        share = position - left
        fields = {field.name: getattr(self.track, field.name) for field in dataclasses.fields(PoseTrack)}
        sampled = {name: _between(values[left], values[left + 1], share) for name, values in fields.items()}
        return PoseTrack(**(sampled | {"directions": _unit(sampled["directions"])}))


def _between(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share.reshape(share.shape + (1,) * (start.ndim - 1))
    return start + share * (end - start)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def _slerp(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Unit vectors on the great circle from start to end; the straight line where that circle is not defined."""
    angle = np.arccos(np.clip((start * end).sum(-1, keepdims=True), -1, 1))
    sine = np.sin(angle)
    safe = np.where(sine < 1e-3, 1, sine)
    share = share[:, None, None]
    arc = (np.sin((1 - share) * angle) * start + np.sin(share * angle) * end) / safe
    return _unit(np.where(sine < 1e-3, (1 - share) * start + share * end, arc))


def _directions(arms: Sequence[str], legs: Sequence[str]) -> np.ndarray:
    """(8, 3) limb directions of a key pose, from the names for left and right."""
    mirror = np.array([-1, 1, 1])
    tables = ((_ARM_POSES | _OOD_ARM_POSES, arms), (_LEG_POSES | _OOD_LEG_POSES, legs))
    pairs = [np.array(table[name]) for table, names in tables for name in names]
    left_arm, right_arm, left_leg, right_leg = pairs
    right_arm, right_leg = right_arm * mirror, right_leg * mirror
    rows = [left_arm[0], right_arm[0], left_arm[1], right_arm[1], left_leg[0], right_leg[0], left_leg[1], right_leg[1]]
    return _unit(np.array(rows))


def _still(arms: Sequence[str] = ("down", "down"), legs: Sequence[str] = ("stand", "stand")) -> dict[str, np.ndarray]:
    count = len(GRID)
    body = {name: np.zeros((count, 3)) for name in ("torso", "head", "pelvis")}
    line = {name: np.zeros(count) for name in ("yaw", "hop", "sway")}
    return body | line | {"directions": np.tile(_directions(arms, legs), (count, 1, 1))}


def _stance(rng: np.random.Generator, kind: Kind, split: Split) -> tuple[str, str]:
    if kind == "gesture":
        return _STANCES[0]
    if split == "test_ood":
        return _OOD_STANCES[rng.integers(len(_OOD_STANCES))]
    if kind == "complex" and rng.random() < 0.5:
        return _WILD_STANCES[rng.integers(len(_WILD_STANCES))]
    return _STANCES[rng.integers(len(_STANCES))]


def _arms(rng: np.random.Generator, split: Split) -> tuple[str, str]:
    names = list(_OOD_ARM_POSES if split == "test_ood" else _ARM_POSES)
    left = names[rng.integers(len(names))]
    return left, left if rng.random() < 0.45 else names[rng.integers(len(names))]


def _key_poses(rng: np.random.Generator, kind: Kind, split: Split, tempo: float) -> dict[str, np.ndarray]:
    """Random key poses on the beat: eased in, held for a quarter of the beat."""
    beats = GRID * tempo
    count, vigor = int(beats[-1]) + 3, 1.7 if kind == "complex" else 1.0
    keys = np.array([_directions(_arms(rng, split), _stance(rng, kind, split)) for _ in range(count)])
    angles = {
        "torso": rng.normal([0.06, 0, 0], [0.16, 0.28, 0.14], (count, 3)) * vigor,
        "head": rng.normal(0, [0.14, 0.32, 0.12], (count, 3)),
        "pelvis": rng.normal(0, [0.05, 0.15, 0.06], (count, 3)),
    }
    index = beats.astype(np.int64)
    share = np.clip((beats - index) * 1.35, 0, 1)
    share = share * share * (3 - 2 * share)
    pose = {name: _between(values[index], values[index + 1], share) for name, values in angles.items()}
    return _still() | pose | {"directions": _slerp(keys[index], keys[index + 1], share)}


def _dance(rng: np.random.Generator, kind: Kind, split: Split) -> dict[str, np.ndarray]:
    tempo, phase = rng.uniform(1.1, 1.9), rng.uniform(0, FULL_TURN)
    draft = _key_poses(rng, kind, split, tempo)
    beats = GRID * tempo
    draft["yaw"] = 0.3 * np.sin(0.5 * np.pi * beats + phase)
    if kind in ("dance_turn", "complex"):
        span, start = rng.uniform(1.5, 3.0), rng.uniform(0.3, 2.5)
        angle = FULL_TURN * rng.choice([-1, 1]) * rng.choice([0.5, 1])
        draft["yaw"] = draft["yaw"] + angle * np.clip((GRID - start) / span, 0, 1)
    if kind != "gesture":
        draft["hop"] = 0.02 * np.abs(np.sin(np.pi * beats))
        draft["sway"] = 0.1 * np.sin(0.9 * GRID + phase)
    return draft


def _swing(angle: np.ndarray, outward: float) -> np.ndarray:
    """(f, 3) directions that hang down and swing about the x axis by angle, forward positive."""
    return np.stack([np.full_like(angle, outward), -np.cos(angle), np.sin(angle)], -1)


def _steps(rng: np.random.Generator, stride: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A draft whose legs walk on the spot, and the phase in radians."""
    draft = _still()
    phase = FULL_TURN * rng.uniform(0.7, 1.2) * GRID + rng.uniform(0, FULL_TURN)
    for side, sign in ((0, 1), (1, -1)):
        hip = sign * stride * np.sin(phase)
        knee = 0.15 + 0.9 * np.clip(sign * np.cos(phase), 0, 1)
        draft["directions"][:, 4 + side] = _swing(hip, 0.06 * sign)
        draft["directions"][:, 6 + side] = _swing(hip - knee, 0.04 * sign)
    return draft, phase


def _walk(rng: np.random.Generator) -> dict[str, np.ndarray]:
    stride = rng.uniform(0.35, 0.6)
    draft, phase = _steps(rng, stride)
    for side, sign in ((0, 1), (1, -1)):
        swing = -0.8 * sign * stride * np.sin(phase)
        draft["directions"][:, side] = _swing(swing, 0.2 * sign)
        draft["directions"][:, 2 + side] = _swing(swing + 0.4, 0.08 * sign)
    draft["torso"][:, 1] = 0.12 * np.sin(phase)
    draft["yaw"] = draft["yaw"] + rng.choice([0, 0.8, -0.8, 1.57, np.pi], p=[0.4, 0.2, 0.2, 0.1, 0.1])
    return draft


def _turn(rng: np.random.Generator, split: Split) -> dict[str, np.ndarray]:
    draft, _ = _steps(rng, 0.25)
    draft["directions"][:, :4] = _directions(_arms(rng, split), ("stand", "stand"))[:4]
    draft["yaw"] = rng.choice([-1, 1]) * FULL_TURN * GRID / rng.uniform(3.5, 6)
    return draft


def _wave(rng: np.random.Generator) -> dict[str, np.ndarray]:
    side, phase = int(rng.integers(2)), FULL_TURN * rng.uniform(0.7, 1.2) * GRID + rng.uniform(0, FULL_TURN)
    other, sign = _RESTING_ARMS[rng.integers(len(_RESTING_ARMS))], 1 - 2 * side
    draft = _still(arms=("wave", other) if side == 0 else (other, "wave"))
    sideways = sign * (0.35 + 0.5 * np.sin(phase))
    draft["directions"][:, 2 + side] = np.stack([sideways, np.full_like(phase, 0.9), np.full_like(phase, 0.15)], -1)
    draft["head"][:, 1:] = np.stack([0.15 * np.cos(phase), 0.1 * np.sin(phase)], -1)
    return draft


def _repeat(rng: np.random.Generator, low: np.ndarray, high: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """(f, 8, 3) directions that go to and fro, and the share of `high` in [0, 1]."""
    share = 0.5 - 0.5 * np.cos(FULL_TURN * rate * GRID + rng.uniform(0, FULL_TURN))
    return _slerp(low[None], high[None], share), share


def _jack(rng: np.random.Generator) -> dict[str, np.ndarray]:
    draft = _still()
    low, high = draft["directions"][0], _directions(("vee", "vee"), ("wide", "wide"))
    draft["directions"], share = _repeat(rng, low, high, rng.uniform(0.7, 1.2))
    draft["hop"] = 0.24 * share * (1 - share)
    return draft


def _squat(rng: np.random.Generator) -> dict[str, np.ndarray]:
    draft, arms = _still(), "front" if rng.random() < 0.6 else "cross"
    low, high = draft["directions"][0], _directions((arms, arms), ("squat", "squat"))
    draft["directions"], share = _repeat(rng, low, high, rng.uniform(0.4, 0.7))
    draft["torso"][:, 0] = 0.5 * share
    draft["yaw"] = draft["yaw"] + rng.choice([0, 0.7, -0.7])
    return draft


def _nod(rng: np.random.Generator, vigor: float) -> dict[str, np.ndarray]:
    """Arms at rest, and a head that sways about all axes by up to `vigor` of an ordinary turn."""
    arms = _RESTING_ARMS[rng.integers(len(_RESTING_ARMS))]
    draft = _still(arms=(arms, arms if rng.random() < 0.5 else "down"))
    for axis, reach in enumerate((0.2, 0.45, 0.12)):
        rate, phase = rng.uniform(0.15, 0.5), rng.uniform(0, FULL_TURN)
        draft["head"][:, axis] = vigor * reach * np.sin(FULL_TURN * rate * GRID + phase)
    return draft


def _body(rng: np.random.Generator, kind: Kind, split: Split) -> dict[str, np.ndarray]:
    simple = {"walk": _walk, "wave": _wave, "jack": _jack, "squat": _squat}
    nodding: dict[Kind, float] = {"talk": 0.5, "grimace": 0.4, "look_around": 1.2}
    if kind in nodding:
        return _nod(rng, nodding[kind])
    if kind == "turn":
        return _turn(rng, split)
    return simple[kind](rng) if kind in simple else _dance(rng, kind, split)


def _face(rng: np.random.Generator, kind: Kind, phase: float) -> FaceTrack:
    made = {"talk": talking, "grimace": grimacing, "look_around": looking_around}
    return made[kind](rng) if kind in made else by_chance(rng, phase)


def make_motion(rng: np.random.Generator, kind: Kind, split: Split, index: int) -> Motion:
    """A motion of the given kind, drawn from the generator."""
    draft, phase = _body(rng, kind, split), rng.uniform(0, FULL_TURN)
    draft["yaw"] = draft["yaw"] + rng.uniform(-0.35, 0.35)
    draft["directions"] = _unit(draft["directions"])
    curl = np.clip(0.35 + 0.4 * np.sin(FULL_TURN * 0.4 * GRID + phase), 0, 1)
    face = _face(rng, kind, phase)
    track = PoseTrack(**draft, curl=curl, gaze=face.gaze, expression=face.expression, accent=face.accent)
    return Motion(split, index, kind, track)


def with_face(motion: Motion, face: FaceTrack) -> Motion:
    """The same body with another face: expressions and gaze are a track of their own."""
    track = dataclasses.replace(motion.track, gaze=face.gaze, expression=face.expression, accent=face.accent)
    return dataclasses.replace(motion, track=track)


def facing(motion: Motion, heading: float) -> Motion:
    """The motion with pelvis, torso and head held upright at one heading, in radians from the camera to the person's
    left."""
    track = motion.track
    upright = {name: np.zeros_like(track.head) for name in ("head", "torso", "pelvis")}
    turned = dataclasses.replace(track, yaw=np.full_like(track.yaw, heading), **upright)
    return dataclasses.replace(motion, track=turned)


@functools.lru_cache(maxsize=256)
def motion_at(split: Split, index: int) -> Motion:
    """The motion of an index, any kind; kinds that move the arms in a half view are the more frequent.

    Raises: UserError for an index outside the split."""
    check_index("motion", split, index, NUM_MOTIONS[split])
    rng = random_stream("motion", split, index)
    weights = _OOD_KIND_WEIGHTS if split == "test_ood" else KIND_WEIGHTS
    kind = list(weights)[int(rng.choice(len(weights), p=list(weights.values())))]
    return make_motion(rng, kind, split, index)
