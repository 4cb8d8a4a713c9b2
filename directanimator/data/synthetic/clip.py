"""Rendered clips of synthetic humans with exact ground truth."""

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from directanimator.data.synthetic import raster
from directanimator.data.synthetic.asset import load_asset
from directanimator.data.synthetic.camera import (
    CAMERA_DISTANCE,
    Camera,
    Projection,
    check_projection,
    check_view,
    place_camera,
)
from directanimator.data.synthetic.face import ACCENTS, EXPRESSIONS
from directanimator.data.synthetic.ground_truth import (
    Exposure,
    GroundTruth,
    Layer,
    check_layers,
    expose,
    expose_layers,
    gather,
    layer_arrays,
)
from directanimator.data.synthetic.identity import Identity, unit_offsets
from directanimator.data.synthetic.kinematics import PosedSkeleton, pose_skeleton
from directanimator.data.synthetic.motion import Motion, PoseTrack
from directanimator.data.synthetic.occluder import Occluder, shade_occluder
from directanimator.data.synthetic.portable import weighted_sum
from directanimator.data.synthetic.scene import Scene, View, paint_backdrop
from directanimator.errors import UserError

MAX_FACE_YAW = np.deg2rad(100.0)
"""A head turned further from the camera than this shows no face."""
MAX_SIZE = 2048
"""Largest side of a frame, in pixels."""
MAX_SUPERSAMPLE = 8
_SHADOW_RADIUS, _SHADOW_FLATNESS, _SHADOW_STRENGTH = 0.35, 0.1, 0.55
_MIN_FACE_INSIDE = 0.5


@dataclass(frozen=True, eq=False)
class RenderedClip:
    """What the camera sees, and what is true about it."""

    frames: UInt8[np.ndarray, "f s s 3"]
    mask: UInt8[np.ndarray, "f s s"]
    """Alpha of the person, 0 to 255; an occluder takes its share away."""
    face_box: Float32[np.ndarray, "f 4"]
    """x0, y0, x1, y1 in pixels, clipped to the frame; NaN where the head is turned away or most of the face is cut."""
    background: UInt8[np.ndarray, "s s 3"]
    """The scene without the person, without the person's shadow and without occluders."""
    joints: Float32[np.ndarray, "f j 3"]
    """Pixel x, pixel y, and distance from the camera in meters."""
    truth: GroundTruth | None = None
    """All else that is true, when it was asked for."""


@dataclass(frozen=True, eq=False)
class _Buffers:
    """Memory that all frames of a clip share."""

    posed: np.ndarray
    normals: np.ndarray
    screen: np.ndarray
    depth: np.ndarray
    owner: np.ndarray
    bary: np.ndarray
    linear: np.ndarray
    occluder_owner: np.ndarray
    occluder_bary: np.ndarray


def _allocate(identity: Identity, pixels: int) -> _Buffers:
    mesh = np.empty((3, *identity.vertices.shape), np.float32)
    depth, owner = np.empty((pixels, pixels), np.float32), np.empty((2, pixels, pixels), np.int32)
    bary, linear = np.zeros((4, pixels, pixels), np.float32), np.empty((pixels, pixels, 3), np.float32)
    return _Buffers(mesh[0], mesh[1], mesh[2], depth, owner[0], bary[:2], linear, owner[1], bary[2:])


@functools.cache
def _display_table() -> np.ndarray:
    return raster.display_table()


def _with_expression(identity: Identity, expression: np.ndarray, accent: np.ndarray) -> np.ndarray:
    vertices = identity.vertices.copy()
    vertices[identity.expressive] += weighted_sum(expression.astype(np.float32), unit_offsets(EXPRESSIONS))
    if accent.any():
        vertices[identity.accented] += weighted_sum(accent.astype(np.float32), unit_offsets(ACCENTS))
    return vertices


def _eyes(gaze: np.ndarray) -> np.ndarray:
    """(2, 6) center and gaze direction of each eye, in the rest frame of the head."""
    right, up = gaze
    direction = [np.sin(right) * np.cos(up), np.sin(up), np.cos(right) * np.cos(up)]
    return np.concatenate([load_asset().eye_centers, [direction, direction]], 1).astype(np.float32)


def _place_body(
    identity: Identity, skeleton: PosedSkeleton, pose: PoseTrack, frame: int, buffers: _Buffers
) -> np.ndarray:
    """Skin one frame into the buffers, the lowest foot on the floor or a hop above it; returns the (3,) shift."""
    raster.skin(
        _with_expression(identity, pose.expression[frame], pose.accent[frame]),
        identity.normals,
        identity.skin_joints,
        identity.skin_weights,
        skeleton.rotations[frame],
        skeleton.offsets[frame],
        buffers.posed,
        buffers.normals,
    )
    lift = pose.hop[frame] * identity.height - buffers.posed[identity.feet, 1].min()
    shift = np.array([pose.sway[frame], lift, 0], np.float32)
    buffers.posed[...] += shift
    return shift


def _cast_shadow(linear: np.ndarray, camera: Camera, pelvis: np.ndarray) -> None:
    """Darken a soft disk on the floor under the pelvis, in place."""
    pixels, unit = len(linear), camera.scale
    x, _, _ = camera.project(pelvis)
    y = camera.center_y + camera.height * unit
    rx, ry = _SHADOW_RADIUS * unit, _SHADOW_FLATNESS * unit
    x0, x1 = max(0, int(x - rx)), min(pixels, int(x + rx))
    y0, y1 = max(0, int(y - ry)), min(pixels, int(y + ry))
    if x0 < x1 and y0 < y1:
        rows, columns = np.mgrid[y0:y1, x0:x1]
        reach = ((columns - x) / rx) ** 2 + ((rows - y) / ry) ** 2
        linear[y0:y1, x0:x1] *= (1 - _SHADOW_STRENGTH * np.clip(1 - reach, 0, 1))[..., None].astype(np.float32)


def _fill_screen(camera: Camera, buffers: _Buffers) -> None:
    """Project all vertices; the compiled kernel knows the perspective camera alone, and sets the usual pixels."""
    if camera.projection == "perspective":
        place = (camera.focal, camera.center_x, camera.center_y, camera.height, CAMERA_DISTANCE)
        raster.project(buffers.posed, *place, buffers.screen)
    else:
        buffers.screen[...] = camera.project(buffers.posed)


def _hide_behind(occluders: Sequence[Occluder], scene: Scene, camera: Camera, buffers: _Buffers) -> np.ndarray:
    """Paint the occluders where they are nearest, take those samples from the person, and return where they are."""
    covered = np.zeros(buffers.owner.shape, bool)
    for occluder in occluders:
        buffers.occluder_owner.fill(-1)
        screen, bary = camera.project(occluder.vertices), (buffers.occluder_bary[0], buffers.occluder_bary[1])
        surface, cut = np.zeros((len(screen), load_asset().surface.shape[1]), np.float32), np.zeros(6, np.float32)
        mesh = (occluder.triangles, occluder.materials, np.zeros(len(occluder.triangles), bool), surface, cut)
        raster.rasterize(screen, *mesh, buffers.depth, buffers.occluder_owner, *bary)
        shade_occluder(occluder, buffers.occluder_owner, bary, scene, buffers.linear)
        covered |= buffers.occluder_owner >= 0
    buffers.owner[covered] = -1
    return covered


def _paint_person(identity: Identity, scene: Scene, camera: Camera, gaze: np.ndarray, buffers: _Buffers) -> None:
    _fill_screen(camera, buffers)
    buffers.depth.fill(raster.FAR)
    buffers.owner.fill(-1)
    mesh = (identity.triangles, identity.materials)
    cut, bary = identity.look[raster.LOOK_CUT], (buffers.bary[0], buffers.bary[1])
    raster.rasterize(
        buffers.screen, *mesh, identity.single_sided, identity.surface, cut, buffers.depth, buffers.owner, *bary
    )
    look = (identity.look, identity.textiles, scene.light, scene.ambient, _eyes(gaze))
    raster.shade(buffers.owner, *bary, *mesh, identity.surface, buffers.normals, *look, buffers.linear)


def _box_of_face(screen: np.ndarray, size: int) -> np.ndarray:
    """(4,) the box around projected face vertices within the frame, NaN when less than half of it is inside."""
    x, y = screen[:, 0], screen[:, 1]
    low, high = np.array([x.min(), y.min()]), np.array([x.max(), y.max()])
    inner_low, inner_high = np.clip(low, 0, size), np.clip(high, 0, size)
    inside = np.prod(inner_high - inner_low) / np.prod(high - low)
    return np.concatenate([inner_low, inner_high]) if inside >= _MIN_FACE_INSIDE else np.full(4, np.nan)


def _check_request(times: np.ndarray, size: int, view: View, supersample: int) -> None:
    check_view(view)
    if not times.size:
        raise UserError("synthetic clip of 0 frames: must be 1 or more")
    for name, value, most in (("size", size, MAX_SIZE), ("supersample", supersample, MAX_SUPERSAMPLE)):
        if not 1 <= value <= most:
            raise UserError(f"synthetic {name} {value}: legal are 1 to {most}")


def _bytes_of(linear: np.ndarray, owner: np.ndarray, supersample: int) -> tuple[np.ndarray, np.ndarray]:
    size = len(linear) // supersample
    frame, mask = np.empty((size, size, 3), np.uint8), np.empty((size, size), np.uint8)
    raster.resolve(linear, owner, supersample, _display_table(), frame, mask)
    return frame, mask


def render_clip(
    identity: Identity,
    motion: Motion,
    scene: Scene,
    times: Float64[np.ndarray, " f"],
    size: int,
    view: View,
    supersample: int = 2,
    layers: Collection[Layer] | None = None,
    occluders: Sequence[Occluder] = (),
    projection: Projection = "perspective",
) -> RenderedClip:
    """The identity performing the motion in the scene at the given seconds, as size x size frames with ground truth.

    The camera stands still and frames the identity by its height. The same arguments give the same bytes. With
    `layers`, even an empty collection, `truth` is filled; the named layers are the part that costs time.

    Raises: UserError for times outside the motion, no frame, an unknown view, projection or layer, or a size or
    supersample out of range."""
    _check_request(times, size, view, supersample)
    check_projection(projection)
    check_layers(layers or ())
    asset, pixels = load_asset(), size * supersample
    pose = motion.pose(times)
    skeleton = pose_skeleton(identity.joints, identity.alignment, pose)
    camera, buffers = place_camera(identity.height, scene, view, pixels, projection), _allocate(identity, pixels)
    backdrop = paint_backdrop(scene, view, pixels)
    background, _ = _bytes_of(backdrop, np.full((pixels, pixels), -1, np.int32), supersample)
    head, pelvis = asset.joint("head"), asset.joint("pelvis")
    frames, mask = np.empty((len(times), size, size, 3), np.uint8), np.empty((len(times), size, size), np.uint8)
    face_box = np.full((len(times), 4), np.nan, np.float32)
    joints = np.empty(skeleton.positions.shape, np.float32)
    facts: list[dict[str, np.ndarray]] = []
    planes = layer_arrays(len(times), size, len(identity.vertices)) if layers else {}
    for frame in range(len(times)):
        positions = skeleton.positions[frame] + _place_body(identity, skeleton, pose, frame, buffers)
        buffers.linear[...] = backdrop
        _cast_shadow(buffers.linear, camera, positions[pelvis])
        _paint_person(identity, scene, camera, pose.gaze[frame], buffers)
        covered = _hide_behind(occluders, scene, camera, buffers)
        frames[frame], mask[frame] = _bytes_of(buffers.linear, buffers.owner, supersample)
        joints[frame] = camera.project(positions)
        if camera.turned_away(skeleton.rotations[frame, head], positions[head]) <= MAX_FACE_YAW:
            face_box[frame] = _box_of_face(buffers.screen[identity.face] / supersample, size)
        if layers is not None:
            body = (buffers.posed, buffers.normals, buffers.screen, positions, skeleton.rotations[frame])
            seen = (buffers.depth, buffers.owner, buffers.bary, covered)
            exposure = Exposure(identity, camera, supersample, *body, *seen)
            facts.append(expose(exposure))
            if planes:
                expose_layers(exposure, planes, frame)
    joints[..., :2] /= supersample
    truth = None if layers is None else gather(identity, motion, pose, facts, planes, layers, supersample)
    return RenderedClip(frames, mask, face_box, background, joints, truth)
