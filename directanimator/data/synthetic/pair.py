"""Pairs of people who perform the same motion: what a training or test item shows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from directanimator.data.synthetic.camera import Projection
from directanimator.data.synthetic.identity import Identity, identity_at
from directanimator.data.synthetic.motion import Kind, Motion, motion_at
from directanimator.data.synthetic.occluder import Occluder
from directanimator.data.synthetic.scene import Scene, View, scene_at
from directanimator.data.synthetic.splits import NUM_IDENTITIES, NUM_MOTIONS, Split, random_stream
from directanimator.data.synthetic.timeline import DURATION
from directanimator.errors import UserError

REFERENCE_GAP = 0.3
"""Seconds, at least, between the reference frame and the driving window."""
MAX_FPS = 240
_REFERENCE_TRIES = 4
_UPRIGHT_KINDS: tuple[Kind, ...] = ("gesture", "wave", "turn", "walk")
_BUST_SHARE = 0.55
"""Of the upright kinds, which are 46 % of motions: a quarter of all pairs. Others would leave the narrow view."""


@dataclass(frozen=True, eq=False)
class SyntheticPair:
    """One training or test item: a driver, and another person who performs the very same motion."""

    identity: Identity
    driver: Identity
    motion: Motion
    scene: Scene
    driver_scene: Scene
    view: View
    reference_time: float
    """Seconds; outside the driving window."""
    times: Float64[np.ndarray, " f"]
    occluders: tuple[Occluder, ...] = ()
    """In front of the person of the target."""
    driver_occluders: tuple[Occluder, ...] = ()
    projection: Projection = "perspective"


def frontal_time(rng: np.random.Generator, motion: Motion, start: float, end: float) -> float:
    """Seconds outside the window, of a few candidates the one that faces the camera best."""
    before, after = max(0.0, start - REFERENCE_GAP), max(0.0, DURATION - end - REFERENCE_GAP)
    drawn = rng.uniform(0, before + after, _REFERENCE_TRIES)
    candidates = np.where(drawn < before, drawn, np.minimum(end + REFERENCE_GAP + drawn - before, DURATION))
    pose = motion.pose(candidates)
    away = np.abs((pose.yaw + pose.torso[:, 1] + pose.head[:, 1] + np.pi) % (2 * np.pi) - np.pi)
    return float(candidates[np.argmin(away)])


def _check_window(num_frames: int, fps: float) -> float:
    """The seconds from the first to the last frame."""
    if num_frames < 1 or not 0 < fps <= MAX_FPS:
        legal = f"legal are 1 frame or more and above 0 to {MAX_FPS} fps"
        raise UserError(f"synthetic clip of {num_frames} frames at {fps:g} fps: {legal}")
    span, longest = (num_frames - 1) / fps, DURATION - 2 * REFERENCE_GAP
    if not span < longest:
        raise UserError(
            f"synthetic clip of {num_frames} frames at {fps:g} fps: {span:.2f} s, legal is below {longest:.2f} s"
        )
    return span


def driving_window(rng: np.random.Generator, num_frames: int, fps: float) -> Float64[np.ndarray, " f"]:
    """Seconds of the frames of a window that lies anywhere in the motion.

    Raises: UserError when the window leaves no room for a reference in six seconds."""
    span = _check_window(num_frames, fps)
    start = rng.uniform(0, DURATION - span)
    return np.minimum(start + np.arange(num_frames) / fps, DURATION)


def pair_at(split: Split, index: int, num_frames: int, fps: float) -> SyntheticPair:
    """The pair of an index: two different people, two scenes, one motion, a window and a reference instant outside it.

    The reference is taken where the person rather faces the camera, as in footage of dancers.

    Raises: UserError when the window leaves no room for a reference in six seconds."""
    _check_window(num_frames, fps)
    rng = random_stream("pair", split, index)
    people = NUM_IDENTITIES[split]
    reference = int(rng.integers(people))
    driver = (reference + 1 + int(rng.integers(people - 1))) % people
    motion = motion_at(split, int(rng.integers(NUM_MOTIONS[split])))
    times = driving_window(rng, num_frames, fps)
    return SyntheticPair(
        identity=identity_at(split, reference),
        driver=identity_at(split, driver),
        motion=motion,
        scene=scene_at(split, int(rng.integers(2**31))),
        driver_scene=scene_at(split, int(rng.integers(2**31))),
        view="bust" if rng.random() < _BUST_SHARE and motion.kind in _UPRIGHT_KINDS else "half",
        reference_time=frontal_time(rng, motion, float(times[0]), float(times[-1])),
        times=times,
    )
