"""What is true about a rendered clip, beyond its mask: points, boxes, weights, and per-pixel layers on request."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

from directanimator.data.synthetic import raster
from directanimator.data.synthetic.asset import load_asset
from directanimator.data.synthetic.camera import Camera
from directanimator.data.synthetic.identity import Identity
from directanimator.data.synthetic.keypoints import (
    COCO_ROWS,
    Keypoints,
    Sight,
    landmark_positions,
    openpose_positions,
    openpose_visible,
)
from directanimator.data.synthetic.motion import Motion, PoseTrack
from directanimator.errors import UserError, did_you_mean

Layer = Literal["parts", "depth", "normals", "correspondence"]

PART_NAMES = ("none", "face", "top", "bottom", "shoe", "hair", "skin", "eye_teeth", "accessory")
"""What the values 0 to 8 of the part map mean; `none` is the scene or an occluder."""
_SEEN_DEPTH = 0.02
"""Meters by which depth may differ at one and the same place of the body."""


_Points = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Places in pixels, positions in meters, visibility."""


@dataclass(frozen=True, eq=False)
class Correspondence:
    """Which place of the body each pixel shows, at the nearest sample of the person within the pixel."""

    canonical: Float32[np.ndarray, "f s s 3"]
    """Meters on the mean body at rest, the same for the same place of all people; NaN off the person."""
    triangle: Int32[np.ndarray, "f s s"]
    """Row in the identity's triangles, -1 off the person."""
    bary: Float32[np.ndarray, "f s s 2"]
    place: Float32[np.ndarray, "f s s 2"]
    """x, y in pixels of that sample."""
    vertices: Float32[np.ndarray, "f v 3"]
    """Sample x, sample y and depth of every vertex of the identity."""
    supersample: int
    """Samples along the side of a pixel."""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """One clip of f frames of s x s pixels. A layer that was not asked for is None."""

    identity: Identity
    motion: Motion
    coco: Keypoints
    openpose: Keypoints
    landmarks: Keypoints
    """The 68 of iBUG 300-W."""
    joints_position: Float32[np.ndarray, "f j 3"]
    """All joints of the rig, in meters."""
    person_box: Float32[np.ndarray, "f 4"]
    """x0, y0, x1, y1 in pixels around the visible person; NaN where nothing of the person is seen."""
    facing: Float32[np.ndarray, " f"]
    """Cosine between the chest's heading and the direction to the camera, seen from above: 1 front, -1 back."""
    head_yaw: Float32[np.ndarray, " f"]
    """Radians in [0, pi] by which the head is turned from the camera."""
    expression: Float64[np.ndarray, "f e"]
    """Weights of EXPRESSIONS."""
    accent: Float64[np.ndarray, "f a"]
    """Weights of ACCENTS."""
    gaze: Float64[np.ndarray, "f 2"]
    """Radians to the person's left and up, from the head's heading."""
    occluder: UInt8[np.ndarray, "f s s"]
    """Alpha of the occluders, 0 to 255."""
    parts: UInt8[np.ndarray, "f s s"] | None
    """Rows of PART_NAMES; above 0 exactly where the mask is."""
    depth: Float32[np.ndarray, "f s s"] | None
    """Meters from the camera along its axis, NaN off the person."""
    normals: Float32[np.ndarray, "f s s 3"] | None
    """Unit vectors, x right, y up, z towards the camera; NaN off the person."""
    correspondence: Correspondence | None


def check_layers(layers: Collection[str]) -> None:
    """Nothing, when all layers are known.

    Raises: UserError otherwise."""
    legal = get_args(Layer)
    for layer in layers:
        if layer not in legal:
            near = did_you_mean(layer, legal)
            raise UserError(f"synthetic ground truth {layer!r}: legal are {', '.join(legal)}{near}")


@dataclass(frozen=True, eq=False)
class Exposure:
    """One rendered frame, before it becomes bytes. Places are in samples: `supersample` of them make up a pixel."""

    identity: Identity
    camera: Camera
    supersample: int
    vertices: Float32[np.ndarray, "v 3"]
    normals: Float32[np.ndarray, "v 3"]
    screen: Float32[np.ndarray, "v 3"]
    joints: Float32[np.ndarray, "j 3"]
    rotations: Float32[np.ndarray, "j 3 3"]
    depth: Float32[np.ndarray, "p p"]
    owner: Int32[np.ndarray, "p p"]
    bary: Float32[np.ndarray, "2 p p"]
    covered: Bool[np.ndarray, "p p"]
    """Where an occluder is what is seen."""

    @property
    def sight(self) -> Sight:
        """What the camera saw."""
        return Sight(self.depth, self.owner)


def _openpose(exposure: Exposure, landmarks_seen: np.ndarray) -> _Points:
    identity = exposure.identity
    position = openpose_positions(identity, exposure.vertices, exposure.joints)
    screen = exposure.camera.project(position)
    visible = openpose_visible(identity, exposure.sight, screen, landmarks_seen)
    return screen[:, :2] / exposure.supersample, position, visible


def _landmarks(exposure: Exposure) -> _Points:
    position = landmark_positions(exposure.identity, exposure.vertices)
    screen = exposure.camera.project(position)
    towards = exposure.normals[exposure.identity.landmarks, 2] > 0
    return screen[:, :2] / exposure.supersample, position, towards & exposure.sight.surface_seen(screen)


def _alpha(covered: np.ndarray, supersample: int) -> np.ndarray:
    size, count = len(covered) // supersample, supersample * supersample
    total = covered.reshape(size, supersample, size, supersample).sum((1, 3))
    return ((255 * total + count // 2) // count).astype(np.uint8)


def _person_box(owner: np.ndarray, supersample: int) -> np.ndarray:
    seen = owner >= 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows):
        return np.full(4, np.nan, np.float32)
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    return box / np.float32(supersample)


def layer_arrays(num_frames: int, size: int, num_vertices: int) -> dict[str, np.ndarray]:
    """What the layers of a clip are written into, by name: everywhere off the person, until a frame is exposed.

    Written in place, since a layer is as large as the video and more."""
    frames = (num_frames, size, size)
    return {
        "parts": np.zeros(frames, np.uint8),
        "depth": np.full(frames, np.nan, np.float32),
        "normals": np.full((*frames, 3), np.nan, np.float32),
        "canonical": np.full((*frames, 3), np.nan, np.float32),
        "triangle": np.full(frames, -1, np.int32),
        "bary": np.full((*frames, 2), np.nan, np.float32),
        "place": np.full((*frames, 2), np.nan, np.float32),
        "vertices": np.empty((num_frames, num_vertices, 3), np.float32),
    }


def expose_layers(exposure: Exposure, layers: Mapping[str, np.ndarray], frame: int) -> None:
    """Nothing; writes one frame into the arrays of the clip's layers."""
    identity = exposure.identity
    written = ("parts", "depth", "normals", "canonical", "triangle", "bary", "place")
    raster.sample_surface(
        exposure.owner,
        exposure.depth,
        *exposure.bary,
        identity.triangles,
        identity.materials,
        identity.surface,
        exposure.normals,
        identity.look,
        exposure.supersample,
        *(layers[name][frame] for name in written),
    )
    layers["vertices"][frame] = exposure.screen


def _turns(exposure: Exposure) -> tuple[float, float]:
    """Radians by which the chest and the head are turned from the camera."""
    joints = [load_asset().joint(name) for name in ("spine_03", "head")]
    chest, head = (exposure.camera.turned_away(exposure.rotations[j], exposure.joints[j]) for j in joints)
    return chest, head


def expose(exposure: Exposure) -> dict[str, np.ndarray]:
    """The ground truth of one frame, by name, but for its layers."""
    chest, head = _turns(exposure)
    found = {"joints": exposure.joints, "facing": np.float32(np.cos(chest)), "head_yaw": np.float32(head)}
    landmarks = _landmarks(exposure)
    points = {"openpose": _openpose(exposure, landmarks[2]), "landmarks": landmarks}
    for name, fields in points.items():
        found |= dict(zip((f"{name}_xy", f"{name}_position", f"{name}_visible"), fields, strict=True))
    found["box"] = _person_box(exposure.owner, exposure.supersample)
    found["occluder"] = _alpha(exposure.covered, exposure.supersample)
    return {name: np.array(value) for name, value in found.items()}


def gather(
    identity: Identity,
    motion: Motion,
    pose: PoseTrack,
    frames: Sequence[dict[str, np.ndarray]],
    planes: Mapping[str, np.ndarray],
    layers: Collection[Layer],
    supersample: int,
) -> GroundTruth:
    """The ground truth of a clip, from that of its frames and the arrays of its layers, if there are any."""
    found = {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}
    openpose, landmarks = (
        Keypoints(found[f"{name}_xy"], found[f"{name}_position"], found[f"{name}_visible"])
        for name in ("openpose", "landmarks")
    )
    coco = Keypoints(*(values[:, COCO_ROWS] for values in (openpose.xy, openpose.position, openpose.visible)))
    places = {name: planes[name] for name in ("canonical", "triangle", "bary", "place", "vertices") if name in planes}
    return GroundTruth(
        identity=identity,
        motion=motion,
        coco=coco,
        openpose=openpose,
        landmarks=landmarks,
        joints_position=found["joints"],
        person_box=found["box"],
        facing=found["facing"],
        head_yaw=found["head_yaw"],
        expression=pose.expression,
        accent=pose.accent,
        gaze=pose.gaze,
        occluder=found["occluder"],
        parts=planes["parts"] if "parts" in layers else None,
        depth=planes["depth"] if "depth" in layers else None,
        normals=planes["normals"] if "normals" in layers else None,
        correspondence=Correspondence(**places, supersample=supersample) if "correspondence" in layers else None,
    )


def _matched_triangles(start: Identity, end: Identity) -> np.ndarray:
    """(t,) for each triangle of the first person, the same place's triangle of the second, or -1."""
    if start is end:
        return np.arange(len(start.triangles))
    rows = np.full(len(load_asset().triangles) + 1, -1, np.int64)
    rows[end.asset_triangles] = np.arange(len(end.triangles))
    rows[-1] = -1  # accessories have no counterpart, and their row is -1
    return rows[start.asset_triangles]


def optical_flow(
    start: GroundTruth, start_frame: int, end: GroundTruth, end_frame: int
) -> tuple[Float32[np.ndarray, "s s 2"], Bool[np.ndarray, "s s"]]:
    """From each pixel of one frame, x and y in pixels to the same place of the body in another; and if it is seen.

    The frames may be of one clip (motion) or of two people (correspondence). NaN off the person and where the other
    person has no such place, as under other clothes.

    Raises: ValueError unless both have the correspondence, and the second the depth."""
    source, target = start.correspondence, end.correspondence
    if source is None or target is None or end.depth is None:
        raise ValueError("optical flow needs the layer correspondence of both clips and the depth of the second")
    triangle = source.triangle[start_frame]
    match = np.where(triangle >= 0, _matched_triangles(start.identity, end.identity)[triangle], -1)
    known = match >= 0
    corners = target.vertices[end_frame][end.identity.triangles[match[known]]]
    u, v = source.bary[start_frame][known].T
    place = np.einsum("nc,nck->nk", np.stack([u, v, 1 - u - v], 1), corners)
    place[:, :2] /= target.supersample
    flow, seen = np.full((*triangle.shape, 2), np.nan, np.float32), np.zeros(triangle.shape, bool)
    flow[known] = place[:, :2] - source.place[start_frame][known]
    seen[known] = _is_there(place, end.depth[end_frame])
    return flow, seen


def _is_there(place: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """(n,) whether the surface seen at each place has its depth."""
    size = len(depth)
    columns, rows = (np.floor(place[:, axis]).astype(np.int64) for axis in (0, 1))
    inside = (columns >= 0) & (columns < size) & (rows >= 0) & (rows < size)
    found = depth[np.where(inside, rows, 0), np.where(inside, columns, 0)]
    return np.asarray(inside & (np.abs(found - place[:, 2]) < _SEEN_DEPTH))
