"""From a motion to the joints of one identity: same limb directions, own bones."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from directanimator.data.synthetic.asset import load_asset
from directanimator.data.synthetic.motion import LIMBS, PoseTrack
from directanimator.data.synthetic.portable import times, turned

_SIDES = (("l", 1.0), ("r", -1.0))


@dataclass(frozen=True, eq=False)
class PosedSkeleton:
    """Joint frames in meters, before grounding: pelvis at the origin."""

    rotations: Float32[np.ndarray, "f j 3 3"]
    """From the rest body to the posed body."""
    positions: Float32[np.ndarray, "f j 3"]
    offsets: Float32[np.ndarray, "f j 3"]
    """A rest point x of joint j goes to rotations[j] @ x + offsets[j]."""


def euler(angles: Float64[np.ndarray, "f 3"]) -> Float64[np.ndarray, "f 3 3"]:
    """Rotation matrices R_y R_x R_z of angles about x, y, z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles).T, np.sin(angles).T
    rows = [
        [cy * cz + sy * sx * sz, sy * sx * cz - cy * sz, sy * cx],
        [cx * sz, cx * cz, -sx],
        [cy * sx * sz - sy * cz, cy * sx * cz + sy * sz, cy * cx],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def rotation_between(
    start: Float64[np.ndarray, "f 3"], end: Float64[np.ndarray, "f 3"]
) -> Float64[np.ndarray, "f 3 3"]:
    """The shortest rotations that carry unit vectors start to unit vectors end; a half turn about z for opposites."""
    cosine = (start * end).sum(-1)
    x, y, z = np.cross(start, end).T
    zero = np.zeros_like(x)
    cross = np.moveaxis(np.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]]), -1, 0)
    opposite = cosine < -0.9999
    factor = 1 / np.where(opposite, 1, 1 + cosine)
    rotation = np.eye(3) + cross + times(cross, cross) * factor[:, None, None]
    return np.where(opposite[:, None, None], np.diag([-1.0, -1.0, 1.0]), rotation)


def _about_z(angle: np.ndarray) -> np.ndarray:
    zero = np.zeros_like(angle)
    return euler(np.stack([zero, zero, angle], -1))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _trunk(pose: PoseTrack) -> dict[str, np.ndarray]:
    zero = np.zeros_like(pose.yaw)
    pelvis = times(euler(np.stack([zero, pose.yaw, zero], -1)), euler(pose.pelvis))
    third = euler(pose.torso / 3)
    lower = times(pelvis, third)
    middle = times(lower, third)
    chest = times(middle, third)
    neck = times(chest, euler(pose.head * 0.4))
    head = times(neck, euler(pose.head * 0.6))
    names = ("Root", "pelvis", "spine_01", "spine_02", "spine_03", "neck_01", "head")
    return dict(zip(names, (pelvis, pelvis, lower, middle, chest, neck, head), strict=True))


def _arm(chest: np.ndarray, upper: np.ndarray, fore: np.ndarray, side: str, sign: float) -> dict[str, np.ndarray]:
    rest = np.broadcast_to([sign, 0.0, 0.0], upper.shape)
    swing = rotation_between(rest, upper)
    bend = times(rotation_between(upper, fore), swing)
    shrug = _about_z(sign * 0.35 * np.maximum(0, upper[:, 1]))
    forearm = times(chest, bend)
    return {
        f"clavicle_{side}": times(chest, shrug),
        f"upperarm_{side}": times(chest, swing),
        f"lowerarm_{side}": forearm,
        f"hand_{side}": forearm,
    }


def _leg(pelvis: np.ndarray, thigh: np.ndarray, calf: np.ndarray, side: str) -> dict[str, np.ndarray]:
    rest = np.broadcast_to([0.0, -1.0, 0.0], thigh.shape)
    swing = rotation_between(rest, thigh)
    bend = times(rotation_between(thigh, calf), swing)
    flat = np.clip((-calf[:, 1:2] - 0.55) / 0.4, 0, 1)
    foot = times(pelvis, rotation_between(rest, _unit(calf * (1 - flat) + rest * flat + 1e-6)))
    thigh_frame, calf_frame = times(pelvis, swing), times(pelvis, bend)
    return {f"thigh_{side}": thigh_frame, f"calf_{side}": calf_frame, f"foot_{side}": foot, f"ball_{side}": foot}


def _frames(pose: PoseTrack) -> dict[str, np.ndarray]:
    frames = _trunk(pose)
    limb = {name: pose.directions[:, row] for row, name in enumerate(LIMBS)}
    for side, sign in _SIDES:
        frames |= _arm(frames["spine_03"], limb[f"upperarm_{side}"], limb[f"lowerarm_{side}"], side, sign)
        frames |= _leg(frames["pelvis"], limb[f"thigh_{side}"], limb[f"calf_{side}"], side)
    return frames


def _curls(curl: np.ndarray) -> dict[tuple[str, bool], np.ndarray]:
    """How every joint of a finger bends, by side and by whether it is the thumb's."""
    return {
        (side, is_thumb): _about_z(-sign * curl * (0.4 if is_thumb else 1.0))
        for side, sign in _SIDES
        for is_thumb in (False, True)
    }


def rest_alignment(joints: Float32[np.ndarray, "j 3"]) -> Float32[np.ndarray, "j 3 3"]:
    """Per joint, the rotation that carries the identity's rest bone to the axis that limb directions start from.

    Arms start along x, legs along -y; the other joints follow their parent."""
    asset = load_asset()
    child = {"upperarm": "lowerarm", "lowerarm": "hand", "thigh": "calf", "calf": "foot"}
    alignment = np.tile(np.eye(3), (len(joints), 1, 1))
    for index, name in enumerate(asset.joint_names):
        part, side, parent = name[:-2], name[-1], asset.joint_parents[index]
        if parent >= 0 and part != "foot":
            alignment[index] = alignment[parent]
        if part in child:
            bone = (joints[asset.joint(f"{child[part]}_{side}")] - joints[index]).astype(np.float64)
            sign = 1.0 if side == "l" else -1.0
            axis = np.array([sign, 0, 0]) if part.endswith("arm") else np.array([0.0, -1, 0])
            alignment[index] = rotation_between(_unit(bone)[None], axis[None])[0]
    return alignment.astype(np.float32)


def pose_skeleton(
    joints: Float32[np.ndarray, "j 3"], alignment: Float32[np.ndarray, "j 3 3"], pose: PoseTrack
) -> PosedSkeleton:
    """The joints of a body in each pose; limb directions are those of the pose whatever the bones are."""
    asset, frames, curls = load_asset(), _frames(pose), _curls(pose.curl)
    num_frames = len(pose.yaw)
    rotations = np.zeros((num_frames, len(joints), 3, 3))
    positions = np.zeros((num_frames, len(joints), 3))
    for index, (name, parent) in enumerate(zip(asset.joint_names, asset.joint_parents, strict=True)):
        if name not in frames:
            frames[name] = times(frames[asset.joint_names[parent]], curls[name[-1], "thumb" in name])
        rotations[:, index] = times(frames[name], alignment[index])
        if parent >= 0:
            bone = joints[index] - joints[parent]
            positions[:, index] = positions[:, parent] + turned(rotations[:, parent], bone)
    offsets = positions - np.einsum("fjab,jb->fja", rotations, joints)
    return PosedSkeleton(rotations.astype(np.float32), positions.astype(np.float32), offsets.astype(np.float32))
