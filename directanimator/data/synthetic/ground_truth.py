"""What is true about a rendered clip, beyond its mask: points, boxes, weights, and per-pixel layers on request."""

import dataclasses
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
    OPENPOSE_18,
    Keypoints,
    Sight,
    landmark_positions,
    openpose_positions,
    openpose_visible,
)
from directanimator.data.synthetic.motion import Motion, PoseTrack
from directanimator.data.synthetic.window import Window
from directanimator.errors import UserError, did_you_mean

Layer = Literal["parts", "depth", "normals", "correspondence"]

PART_NAMES = ("none", "face", "top", "bottom", "shoe", "hair", "skin", "eye_teeth", "accessory")
"""What the values 0 to 8 of the part map mean; `none` is the scene or an occluder."""
_SEEN_DEPTH = 0.02
"""Meters by which depth may differ at one and the same place of the body."""


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
    """One frame as it lies in the buffers. Places are in samples: `supersample` of them make up the side of a pixel."""

    identity: Identity
    camera: Camera
    supersample: int
    vertices: Float32[np.ndarray, "v 3"]
    normals: Float32[np.ndarray, "v 3"]
    screen: Float32[np.ndarray, "v 3"]
    joints: Float32[np.ndarray, "j 3"]
    depth: Float32[np.ndarray, "p p"]
    owner: Int32[np.ndarray, "p p"]
    bary: Float32[np.ndarray, "2 p p"]
    alpha: UInt8[np.ndarray, "s s"]
    """The person's share of each pixel, 0 to 255."""
    seen: Window
    """Samples around what is seen of the person."""
    covered: Bool[np.ndarray, "p p"]
    """Where an occluder is what is seen."""
    around: Window
    """Samples around all that is covered."""


def _alpha(covered: np.ndarray, around: Window, supersample: int) -> np.ndarray:
    alpha, count = np.zeros((len(covered) // supersample,) * 2, np.uint8), supersample * supersample
    pixels = around.in_pixels(supersample)
    within, samples = alpha[pixels.slices], covered[pixels.in_samples(supersample).slices]
    total = samples.reshape(len(within), supersample, within.shape[1], supersample).sum((1, 3))
    within[...] = (255 * total + count // 2) // count
    return alpha


def _person_box(seen: Window, supersample: int) -> np.ndarray:
    if seen.is_empty:
        return np.full(4, np.nan, np.float32)
    return np.array([seen.left, seen.top, seen.right, seen.bottom], np.float32) / np.float32(supersample)


_CORRESPONDENCE = tuple(field.name for field in dataclasses.fields(Correspondence) if field.name != "supersample")
_SAMPLED = ("depth", "triangle", "bary", "place")
"""What is found of every pixel, whatever layers are wanted; in the kernel's order."""
_BLANK: dict[str, tuple[tuple[int, ...], type, float]] = {
    "depth": ((), np.float32, np.nan),
    "triangle": ((), np.int32, -1),
    "bary": ((2,), np.float32, np.nan),
    "place": ((2,), np.float32, np.nan),
    "parts": ((), np.uint8, 0),
    "normals": ((3,), np.float32, np.nan),
    "canonical": ((3,), np.float32, np.nan),
}
"""Shape and type of what is known of a pixel, and what it is off the person."""


def layer_arrays(num_frames: int, size: int, num_vertices: int, layers: Collection[Layer]) -> dict[str, np.ndarray]:
    """What the layers of a clip are written into, by name.

    Written in place, since a layer is as large as the video and more; what is found anyway, and nobody wants, has room
    for one frame."""
    wanted = {*layers, *(_CORRESPONDENCE if "correspondence" in layers else ())}
    planes: dict[str, np.ndarray] = {}
    for name, (shape, kind, _) in _BLANK.items():
        if name in wanted or name in _SAMPLED:
            planes[name] = np.empty((num_frames if name in wanted else 1, size, size, *shape), kind)
    if "vertices" in wanted:
        planes["vertices"] = np.empty((num_frames, num_vertices, 3), np.float32)
    return planes


def expose_layers(exposure: Exposure, layers: Mapping[str, np.ndarray], frame: int) -> None:
    """Nothing; writes one frame into the arrays of the clip's layers."""
    identity, window = exposure.identity, exposure.seen.in_pixels(exposure.supersample)
    planes = {name: values[frame % len(values)] for name, values in layers.items()}
    for name in planes.keys() & _BLANK.keys():
        planes[name].fill(_BLANK[name][2])
    samples = (exposure.alpha, exposure.owner, exposure.depth, *exposure.bary, exposure.supersample)
    raster.sample_surface(*window, *samples, *(planes[name] for name in _SAMPLED))
    shown = (planes["triangle"], planes["bary"], identity.triangles)
    if "canonical" in planes:
        raster.write_canonical(*window, *shown, identity.surface, planes["canonical"])
    if "parts" in planes:
        raster.write_parts(*window, *shown, identity.materials, identity.surface, identity.look, planes["parts"])
    if "normals" in planes:
        raster.write_normals(*window, *shown, exposure.normals, planes["normals"])
    if "vertices" in planes:
        planes["vertices"][...] = exposure.screen


@dataclass(frozen=True, eq=False)
class FrameFacts:
    """What is true of one frame, but for its layers. The points are OPENPOSE_18, then the landmarks."""

    positions: Float32[np.ndarray, "86 3"]
    sight: Sight
    landmarks_towards: Bool[np.ndarray, "68"]
    """Whether the skin at a landmark faces the camera."""
    person_box: Float32[np.ndarray, " 4"]
    occluder: UInt8[np.ndarray, "s s"]


def expose(exposure: Exposure) -> FrameFacts:
    """What is true of one frame, but for its layers."""
    identity, vertices = exposure.identity, exposure.vertices
    landmarks = landmark_positions(identity, vertices)
    positions = np.concatenate([openpose_positions(identity, vertices, exposure.joints), landmarks])
    return FrameFacts(
        positions=positions,
        sight=Sight.of_frame(exposure.depth, exposure.owner, exposure.camera.project(positions)),
        landmarks_towards=exposure.normals[identity.landmarks, 2] > 0,
        person_box=_person_box(exposure.seen, exposure.supersample),
        occluder=_alpha(exposure.covered, exposure.around, exposure.supersample),
    )


def _keypoints(identity: Identity, frames: Sequence[FrameFacts], supersample: int) -> tuple[Keypoints, Keypoints]:
    """OPENPOSE_18 and the landmarks."""
    body, face = slice(len(OPENPOSE_18)), slice(len(OPENPOSE_18), None)
    sight, positions = Sight.of_clip([frame.sight for frame in frames]), np.stack([frame.positions for frame in frames])
    xy = sight.screen[..., :2] / np.float32(supersample)
    landmarks_seen = np.stack([frame.landmarks_towards for frame in frames]) & sight.at(face).surface_seen()
    body_seen = openpose_visible(identity, sight.at(body), landmarks_seen)
    openpose = Keypoints(xy[:, body], positions[:, body], body_seen)
    return openpose, Keypoints(xy[:, face], positions[:, face], landmarks_seen)


def gather(
    identity: Identity,
    motion: Motion,
    pose: PoseTrack,
    joints: Float32[np.ndarray, "f j 3"],
    facing_away: tuple[Float32[np.ndarray, " f"], Float32[np.ndarray, " f"]],
    frames: Sequence[FrameFacts],
    planes: Mapping[str, np.ndarray],
    layers: Collection[Layer],
    supersample: int,
) -> GroundTruth:
    """The ground truth of a clip, from that of its frames and the arrays of its layers, if there are any.

    `joints` are in meters, `facing_away` the angles of chest and head from the camera."""
    openpose, landmarks = _keypoints(identity, frames, supersample)
    chest, head = facing_away
    coco = Keypoints(*(values[:, COCO_ROWS] for values in (openpose.xy, openpose.position, openpose.visible)))
    places = {name: planes[name] for name in _CORRESPONDENCE if name in planes}
    return GroundTruth(
        identity=identity,
        motion=motion,
        coco=coco,
        openpose=openpose,
        landmarks=landmarks,
        joints_position=joints,
        person_box=np.stack([frame.person_box for frame in frames]),
        facing=np.cos(chest, dtype=np.float64).astype(np.float32),
        head_yaw=head,
        expression=pose.expression,
        accent=pose.accent,
        gaze=pose.gaze,
        occluder=np.stack([frame.occluder for frame in frames]),
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
