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
    FrameFacts,
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
from directanimator.data.synthetic.scene import Scene, View, paint_backdrop
from directanimator.data.synthetic.window import Window
from directanimator.errors import UserError

MAX_FACE_YAW = np.deg2rad(100.0)
"""A head turned further from the camera than this shows no face."""
MAX_SIZE = 2048
"""Largest side of a frame, in pixels."""
MAX_SUPERSAMPLE = 8
_SHADOW_RADIUS, _SHADOW_FLATNESS, _SHADOW_STRENGTH = 0.35, 0.1, 0.55
_MIN_FACE_INSIDE = 0.5


@dataclass(frozen=True, eq=False, kw_only=True)
class OutlinedClip:
    """Where a person is in a clip, without pictures."""

    mask: UInt8[np.ndarray, "f s s"]
    """Alpha of the person, 0 to 255; an occluder takes its share away."""
    face_box: Float32[np.ndarray, "f 4"]
    """x0, y0, x1, y1 in pixels, clipped to the frame; NaN where the head is turned away or most of the face is cut."""
    joints: Float32[np.ndarray, "f j 3"]
    """Pixel x, pixel y, and distance from the camera in meters."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RenderedClip(OutlinedClip):
    """What the camera sees, and what is true about it."""

    frames: UInt8[np.ndarray, "f s s 3"]
    background: UInt8[np.ndarray, "s s 3"]
    """The scene without the person, without the person's shadow and without occluders."""
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
    raster.express(expression.astype(np.float32), unit_offsets(EXPRESSIONS), identity.expressive, vertices)
    if accent.any():
        raster.express(accent.astype(np.float32), unit_offsets(ACCENTS), identity.accented, vertices)
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
    _, lowest, _, _ = raster.extent(buffers.posed, identity.feet)
    lift = pose.hop[frame] * identity.height - lowest
    shift = np.array([pose.sway[frame], lift, 0], np.float32)
    raster.move(buffers.posed, shift[0], shift[1])
    return shift


def _cast_shadow(linear: np.ndarray, camera: Camera, pelvis: np.ndarray) -> Window:
    """Darken a soft disk on the floor under the pelvis, in place; returns where."""
    pixels, unit = len(linear), camera.scale
    x, _, _ = camera.project(pelvis)
    y = camera.center_y + camera.height * unit
    rx, ry = _SHADOW_RADIUS * unit, _SHADOW_FLATNESS * unit
    x0, x1 = max(0, int(x - rx)), min(pixels, int(x + rx))
    y0, y1 = max(0, int(y - ry)), min(pixels, int(y + ry))
    if x0 >= x1 or y0 >= y1:
        return Window.empty(pixels)
    window = Window(y0, y1, x0, x1)
    raster.darken(linear, *window, float(x), y, rx, ry, _SHADOW_STRENGTH)
    return window


def _fill_screen(camera: Camera, buffers: _Buffers) -> None:
    """Project all vertices; the compiled kernel knows the perspective camera alone, and sets the usual pixels."""
    if camera.projection == "perspective":
        place = (camera.focal, camera.center_x, camera.center_y, camera.height, CAMERA_DISTANCE)
        raster.project(buffers.posed, *place, buffers.screen)
    else:
        buffers.screen[...] = camera.project(buffers.posed)


def _hide_behind(
    occluders: Sequence[Occluder], scene: Scene | None, camera: Camera, buffers: _Buffers
) -> tuple[np.ndarray, Window]:
    """Take the samples from the person where an occluder is nearest, and paint it in the light of a scene, if there is
    one; returns which samples, and a window around them."""
    pixels = len(buffers.owner)
    covered, around = np.zeros((pixels, pixels), bool), Window.empty(pixels)
    for occluder in occluders:
        buffers.occluder_owner.fill(-1)
        screen, bary = camera.project(occluder.vertices), (buffers.occluder_bary[0], buffers.occluder_bary[1])
        surface, cut = np.zeros((len(screen), load_asset().surface.shape[1]), np.float32), np.zeros(6, np.float32)
        mesh = (occluder.triangles, occluder.materials, np.zeros(len(occluder.triangles), bool), surface, cut)
        window = Window(*raster.rasterize(screen, *mesh, buffers.depth, buffers.occluder_owner, *bary))
        if scene is not None:
            shade_occluder(occluder, window, buffers.occluder_owner, bary, scene, buffers.linear)
        covered |= buffers.occluder_owner >= 0
        around = around.joined(window)
    if occluders:
        buffers.owner[covered] = -1
    return covered, around


def _draw_person(identity: Identity, camera: Camera, buffers: _Buffers) -> Window:
    """Find the triangle behind every sample, in a clean buffer; returns a window around the person."""
    _fill_screen(camera, buffers)
    cut, bary = identity.look[raster.LOOK_CUT], (buffers.bary[0], buffers.bary[1])
    mesh = (identity.triangles, identity.materials, identity.single_sided, identity.surface, cut)
    return Window(*raster.rasterize(buffers.screen, *mesh, buffers.depth, buffers.owner, *bary))


def _paint_person(identity: Identity, scene: Scene, gaze: np.ndarray, window: Window, buffers: _Buffers) -> None:
    bary, mesh = (buffers.bary[0], buffers.bary[1]), (identity.triangles, identity.materials)
    look = (identity.look, identity.textiles, scene.light, scene.ambient, _eyes(gaze))
    raster.shade(*window, buffers.owner, *bary, *mesh, identity.surface, buffers.normals, *look, buffers.linear)


def _face_boxes(extents: np.ndarray, away: np.ndarray, size: int) -> np.ndarray:
    """(f, 4) the boxes around the faces within the frame, NaN of a head that is turned away and where less than half of
    the face is inside."""
    low, high = extents[:, :2], extents[:, 2:]
    inner_low, inner_high = np.clip(low, 0, size), np.clip(high, 0, size)
    inside = np.prod(inner_high - inner_low, 1) / np.prod(high - low, 1)
    boxes = np.concatenate([inner_low, inner_high], 1)
    boxes[(away > MAX_FACE_YAW) | ~(inside >= _MIN_FACE_INSIDE)] = np.nan
    return boxes


def _check_request(times: np.ndarray, size: int, view: View, supersample: int) -> None:
    check_view(view)
    if not times.size:
        raise UserError("synthetic clip of 0 frames: must be 1 or more")
    for name, value, most in (("size", size, MAX_SIZE), ("supersample", supersample, MAX_SUPERSAMPLE)):
        if not 1 <= value <= most:
            raise UserError(f"synthetic {name} {value}: legal are 1 to {most}")


@dataclass(frozen=True, eq=False)
class _Shot:
    """A person before a camera: what all frames of a clip share."""

    identity: Identity
    pose: PoseTrack
    skeleton: PosedSkeleton
    camera: Camera
    size: int
    supersample: int
    buffers: _Buffers

    @property
    def pixels(self) -> int:
        """Samples to a side."""
        return self.size * self.supersample


def _set_up(
    identity: Identity,
    motion: Motion,
    scene: Scene,
    times: np.ndarray,
    size: int,
    view: View,
    supersample: int,
    projection: Projection,
) -> _Shot:
    _check_request(times, size, view, supersample)
    check_projection(projection)
    pose, pixels = motion.pose(times), size * supersample
    skeleton = pose_skeleton(identity.joints, identity.alignment, pose)
    camera, buffers = place_camera(identity.height, scene, view, pixels, projection), _allocate(identity, pixels)
    return _Shot(identity, pose, skeleton, camera, size, supersample, buffers)


@dataclass(frozen=True, eq=False)
class _Notes:
    """What is written down of every frame while the buffers hold it."""

    mask: np.ndarray
    positions: np.ndarray
    face_extents: np.ndarray


def _blank_notes(shot: _Shot) -> _Notes:
    num_frames = len(shot.pose.yaw)
    mask = np.zeros((num_frames, shot.size, shot.size), np.uint8)
    return _Notes(mask, np.empty(shot.skeleton.positions.shape, np.float32), np.empty((num_frames, 4), np.float32))


def _stand(shot: _Shot, frame: int, notes: _Notes) -> np.ndarray:
    """(j, 3) the joints in meters, when the person of a frame has been posed in the buffers."""
    shift = _place_body(shot.identity, shot.skeleton, shot.pose, frame, shot.buffers)
    notes.positions[frame] = shot.skeleton.positions[frame] + shift
    positions: np.ndarray = notes.positions[frame]
    return positions


def _note(shot: _Shot, frame: int, drawn: Window, notes: _Notes) -> Window:
    """Write down where the person of the drawn frame is; returns a window around what is seen of the person."""
    notes.face_extents[frame] = raster.extent(shot.buffers.screen, shot.identity.face)
    pixels, supersample = drawn.in_pixels(shot.supersample), shot.supersample
    return Window(*raster.cover(shot.buffers.owner, *pixels, supersample, notes.mask[frame]))


def _turned_away(shot: _Shot, notes: _Notes, joint: str) -> np.ndarray:
    """(f,) radians by which the part at a joint is turned from the camera."""
    row = load_asset().joint(joint)
    return shot.camera.turned_away(shot.skeleton.rotations[:, row], notes.positions[:, row])


def _outline(shot: _Shot, notes: _Notes) -> OutlinedClip:
    per_pixel = np.float32(shot.supersample)
    joints = shot.camera.project(notes.positions)
    joints[..., :2] /= per_pixel
    boxes = _face_boxes(notes.face_extents / per_pixel, _turned_away(shot, notes, "head"), shot.size)
    return OutlinedClip(mask=notes.mask, face_box=boxes, joints=joints)


def _wipe(buffers: _Buffers, window: Window) -> None:
    """Nobody within a window."""
    buffers.depth[window.slices] = raster.FAR
    buffers.owner[window.slices] = -1


def outline_clip(
    identity: Identity,
    motion: Motion,
    scene: Scene,
    times: Float64[np.ndarray, " f"],
    size: int,
    view: View,
    supersample: int = 2,
    occluders: Sequence[Occluder] = (),
    projection: Projection = "perspective",
) -> OutlinedClip:
    """Where the person of `render_clip` is, the very same, without the work on its pictures.

    Raises: UserError as `render_clip` does."""
    shot = _set_up(identity, motion, scene, times, size, view, supersample, projection)
    notes, changed = _blank_notes(shot), Window.whole(shot.pixels)
    for frame in range(len(times)):
        _wipe(shot.buffers, changed)
        _stand(shot, frame, notes)
        drawn = _draw_person(identity, shot.camera, shot.buffers)
        _, around = _hide_behind(occluders, None, shot.camera, shot.buffers)
        changed = drawn.joined(around)
        _note(shot, frame, drawn, notes)
    return _outline(shot, notes)


def _developed(backdrop: np.ndarray, supersample: int) -> np.ndarray:
    size = len(backdrop) // supersample
    picture = np.empty((size, size, 3), np.uint8)
    raster.develop(backdrop, *Window.whole(size), supersample, _display_table(), picture)
    return picture


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
    check_layers(layers or ())
    shot = _set_up(identity, motion, scene, times, size, view, supersample, projection)
    camera, buffers, pelvis = shot.camera, shot.buffers, load_asset().joint("pelvis")
    backdrop = paint_backdrop(scene, view, shot.pixels)
    background = _developed(backdrop, supersample)
    frames, notes = np.tile(background, (len(times), 1, 1, 1)), _blank_notes(shot)
    facts: list[FrameFacts] = []
    planes = layer_arrays(len(times), size, len(identity.vertices), layers) if layers else {}
    changed = Window.whole(shot.pixels)
    for frame in range(len(times)):
        _wipe(buffers, changed)
        buffers.linear[changed.slices] = backdrop[changed.slices]
        positions = _stand(shot, frame, notes)
        shadow = _cast_shadow(buffers.linear, camera, positions[pelvis])
        drawn = _draw_person(identity, camera, buffers)
        _paint_person(identity, scene, shot.pose.gaze[frame], drawn, buffers)
        covered, around = _hide_behind(occluders, scene, camera, buffers)
        changed = drawn.joined(shadow).joined(around)
        raster.develop(buffers.linear, *changed.in_pixels(supersample), supersample, _display_table(), frames[frame])
        seen = _note(shot, frame, drawn, notes)
        if layers is not None:
            body = (buffers.posed, buffers.normals, buffers.screen, positions)
            samples = (buffers.depth, buffers.owner, buffers.bary, notes.mask[frame])
            exposure = Exposure(identity, camera, supersample, *body, *samples, seen, covered, around)
            facts.append(expose(exposure))
            if planes:
                expose_layers(exposure, planes, frame)
    outline, truth = _outline(shot, notes), None
    if layers is not None:
        away = _turned_away(shot, notes, "spine_03"), _turned_away(shot, notes, "head")
        truth = gather(identity, motion, shot.pose, notes.positions, away, facts, planes, layers, supersample)
    return RenderedClip(**vars(outline), frames=frames, background=background, truth=truth)
