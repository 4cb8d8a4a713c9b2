"""The other side: motions and scenes seen in a mirror, and twins that share a skeleton and not a picture."""

import dataclasses
from typing import Literal

import numpy as np

from directanimator.data.synthetic.face import ACCENTS, EXPRESSIONS
from directanimator.data.synthetic.motion import Motion, PoseTrack
from directanimator.data.synthetic.scene import Panel, Scene

Twin = Literal["depth", "back"]

_OTHER_LIMB = [1, 0, 3, 2, 5, 4, 7, 6]
_IS_ARM = np.arange(len(_OTHER_LIMB))[:, None] < 4
_DEEPER = 2.5
"""How much farther to the front or back the arms of a flattened motion point than those of the motion."""
_ACROSS = np.array([-1.0, 1.0, 1.0])
_AWAY = np.array([1.0, 1.0, -1.0])
_MIRRORED_ANGLES = np.array([1.0, -1.0, -1.0])


def _other_units(units: tuple[str, ...]) -> list[int]:
    swap = {"Left": "Right", "Right": "Left"}
    found = []
    for name in units:
        side = next((side for side in swap if name.endswith(side)), "")
        found.append(units.index(name.removesuffix(side) + swap.get(side, "")))
    return found


def mirrored_motion(motion: Motion) -> Motion:
    """The motion in a mirror: what left did, right does."""
    track = motion.track
    mirrored = PoseTrack(
        directions=track.directions[:, _OTHER_LIMB] * _ACROSS,
        torso=track.torso * _MIRRORED_ANGLES,
        head=track.head * _MIRRORED_ANGLES,
        pelvis=track.pelvis * _MIRRORED_ANGLES,
        yaw=-track.yaw,
        hop=track.hop,
        sway=-track.sway,
        curl=track.curl,
        gaze=track.gaze * [-1, 1],
        expression=track.expression[:, _other_units(EXPRESSIONS)],
        accent=track.accent[:, _other_units(ACCENTS)],
    )
    return dataclasses.replace(motion, track=mirrored)


def _mirrored_panel(panel: Panel) -> Panel:
    return dataclasses.replace(panel, x=1 - panel.x)


def mirrored_scene(scene: Scene) -> Scene:
    """The scene in a mirror, but for the pattern of its wall and floor."""
    right, down = scene.camera_shift
    return dataclasses.replace(
        scene,
        bright_at=1 - scene.bright_at,
        pictures=tuple(map(_mirrored_panel, scene.pictures)),
        furniture=tuple(map(_mirrored_panel, scene.furniture)),
        light=(scene.light * _ACROSS).astype(np.float32),
        camera_shift=(-right, down),
    )


def flattened(motion: Motion) -> Motion:
    """The motion upright before the camera, trunk and head turned about the line of sight alone, arms reaching deep.

    Only such a motion has twins: what leans towards the camera shows it in the places of the joints."""
    track = motion.track
    about_z = np.array([0.0, 0.0, 1.0])
    deep = track.directions * np.array([1.0, 1.0, _DEEPER])
    directions = np.where(_IS_ARM, deep / np.linalg.norm(deep, axis=-1, keepdims=True), track.directions)
    upright = {name: getattr(track, name) * about_z for name in ("torso", "head", "pelvis")}
    flat = dataclasses.replace(track, directions=directions, yaw=np.zeros_like(track.yaw), **upright)
    return dataclasses.replace(motion, track=flat)


def twin_of(motion: Motion, kind: Twin) -> Motion:
    """Of a `flattened` motion, another one with the same skeleton to an orthographic camera.

    depth: what the arms do in front of the body they do behind it; all joints project to the same places.
    back: the person stands with the back to the camera; the joints project to the same places, left and right swapped.

    Deviation: SYNTH.md mirrors the legs too; then the feet ground the body at another height, and the joints tell."""
    track = motion.track
    if kind == "back":
        mirrored = mirrored_motion(motion)
        turned = dataclasses.replace(mirrored.track, yaw=np.full_like(track.yaw, np.pi), sway=track.sway)
        return dataclasses.replace(motion, track=turned)
    directions = np.where(_IS_ARM, track.directions * _AWAY, track.directions)
    return dataclasses.replace(motion, track=dataclasses.replace(track, directions=directions))
