"""Points of a person in the field's orders, and whether the camera sees them."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from directanimator.data.synthetic.asset import load_asset
from directanimator.data.synthetic.identity import Identity

COCO_17 = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
"""Left and right are the person's own."""
OPENPOSE_18 = (
    "nose",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
)
_MIRRORED_LANDMARKS = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
)
MIRRORED_LANDMARKS = np.array(_MIRRORED_LANDMARKS)
"""For each of the 68 landmarks, the one on the other side of the face."""

_BONES = {"shoulder": "upperarm", "elbow": "lowerarm", "wrist": "hand", "hip": "thigh", "knee": "calf", "ankle": "foot"}
_NOSE = 30
_EYES = {OPENPOSE_18.index("right_eye"): slice(36, 42), OPENPOSE_18.index("left_eye"): slice(42, 48)}
_EARS = [OPENPOSE_18.index("left_ear"), OPENPOSE_18.index("right_ear")]
_NECK = OPENPOSE_18.index("neck")
_SHOULDERS = [OPENPOSE_18.index("left_shoulder"), OPENPOSE_18.index("right_shoulder")]
COCO_ROWS = np.array([OPENPOSE_18.index(name) for name in COCO_17])
"""Row among OPENPOSE_18 of each point of COCO_17."""
SURFACE_TOLERANCE = 0.03
"""Meters by which something may lie in front of a seen point of the surface."""
_FLESH = 0.18
"""Meters between a seen joint and the skin in front of it, at most."""
_MIN_WEIGHT = 0.25
"""Share that the bones of a seen joint have in the skin in front of it, at least."""


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Points of f frames, in one of the orders of this module."""

    xy: Float32[np.ndarray, "f k 2"]
    """Pixels, pixel 0 spans 0..1; also of hidden points and of those outside the frame."""
    position: Float32[np.ndarray, "f k 3"]
    """Meters: x to the camera's right, y up, z towards the camera, origin on the floor."""
    visible: Bool[np.ndarray, "f k"]
    """False where the point is hidden by the person, by an occluder, or lies outside the frame."""


def other_side(names: tuple[str, ...]) -> Int32[np.ndarray, " k"]:
    """For each name, the row of the same point on the other side of the body."""
    swap = {"left": "right", "right": "left"}
    sides = [name.partition("_") for name in names]
    return np.array([names.index(swap.get(side, side) + sign + part) for side, sign, part in sides], np.int32)


def joint_behind(name: str) -> int:
    """The rig's joint at a point of the body: `left_elbow` and the like, or `neck`."""
    side, _, part = name.partition("_")
    return load_asset().joint("neck_01" if name == "neck" else f"{_BONES[part]}_{side[0]}")


@functools.cache
def _body_rows() -> tuple[np.ndarray, np.ndarray]:
    """Rows among OPENPOSE_18 of the points that are joints, and those joints."""
    rows = [row for row, name in enumerate(OPENPOSE_18) if name == "neck" or name.partition("_")[2] in _BONES]
    return np.array(rows), np.array([joint_behind(OPENPOSE_18[row]) for row in rows])


def landmark_positions(identity: Identity, vertices: Float32[np.ndarray, "v 3"]) -> Float32[np.ndarray, "68 3"]:
    """The face landmarks among posed vertices."""
    return vertices[identity.landmarks]


def openpose_positions(
    identity: Identity, vertices: Float32[np.ndarray, "v 3"], joints: Float32[np.ndarray, "j 3"]
) -> Float32[np.ndarray, "18 3"]:
    """OPENPOSE_18: nose, eyes and ears on the surface of the posed vertices; all else at the joints, the neck between
    the shoulders."""
    landmarks, (rows, behind) = landmark_positions(identity, vertices), _body_rows()
    places = np.empty((len(OPENPOSE_18), 3), np.float32)
    places[rows] = joints[behind]
    places[_NECK] = places[_SHOULDERS].mean(0)
    places[0] = landmarks[_NOSE]
    for row, lids in _EYES.items():
        places[row] = landmarks[lids].mean(0)
    places[_EARS] = vertices[identity.ears]
    return places


@dataclass(frozen=True, eq=False)
class Sight:
    """What the camera saw where k points are projected to."""

    screen: Float32[np.ndarray, "*f k 3"]
    """Sample x, sample y, and the point's own depth in meters."""
    inside: Bool[np.ndarray, "*f k"]
    """Whether the point is in the frame; what was seen of one that is not means nothing."""
    depth: Float32[np.ndarray, "*f k"]
    """Meters to what is seen."""
    triangle: Int32[np.ndarray, "*f k"]
    """The person's triangle that is seen, or -1."""

    @classmethod
    def of_frame(
        cls, depth: Float32[np.ndarray, "p p"], owner: Int32[np.ndarray, "p p"], screen: Float32[np.ndarray, "k 3"]
    ) -> "Sight":
        """Look the points up in the samples of one frame."""
        columns, rows = np.floor(screen[:, 0]), np.floor(screen[:, 1])
        height, width = depth.shape
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        place = np.where(inside, rows, 0).astype(np.int64), np.where(inside, columns, 0).astype(np.int64)
        return cls(screen, inside, depth[place], owner[place])

    @classmethod
    def of_clip(cls, frames: "Sequence[Sight]") -> "Sight":
        """The same points over all frames."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.stack([getattr(frame, name) for frame in frames]) for name in names))

    def at(self, points: slice | np.ndarray) -> "Sight":
        """Of some of the points."""
        shown = (self.inside[..., points], self.depth[..., points], self.triangle[..., points])
        return Sight(self.screen[..., points, :], *shown)

    def surface_seen(self) -> Bool[np.ndarray, "*f k"]:
        """Whether points of the surface are in the frame and not covered."""
        return np.asarray(self.inside & (self.depth > self.screen[..., 2] - SURFACE_TOLERANCE))

    def joints_seen(self, identity: Identity, joints: Int64[np.ndarray, " k"]) -> Bool[np.ndarray, "*f k"]:
        """Whether the skin around each joint is what the camera sees there."""
        corners = identity.triangles[np.maximum(self.triangle, 0)]
        bones, parents = joints[:, None, None], load_asset().joint_parents[joints][:, None, None]
        chosen = (identity.skin_joints[corners] == bones) | (identity.skin_joints[corners] == parents)
        share = np.where(chosen, identity.skin_weights[corners], 0).sum(-1).mean(-1)
        own = (share > _MIN_WEIGHT) & (np.abs(self.depth - self.screen[..., 2]) < _FLESH)
        return np.asarray(self.inside & np.where(self.triangle >= 0, own, self.depth > self.screen[..., 2]))


def openpose_visible(
    identity: Identity, sight: Sight, landmarks_seen: Bool[np.ndarray, "*f 68"]
) -> Bool[np.ndarray, "*f 18"]:
    """Which of OPENPOSE_18 the camera sees: joints by the skin around them, ears by themselves, nose and eyes by
    landmarks."""
    rows, joints = _body_rows()
    seen = sight.surface_seen()
    seen[..., rows] = sight.at(rows).joints_seen(identity, joints)
    seen[..., 0] = landmarks_seen[..., _NOSE]
    for row, lids in _EYES.items():
        seen[..., row] = landmarks_seen[..., lids].mean(-1) >= 0.5
    return seen
