"""Rendered clips of synthetic humans with exact ground truth, and pairs of people who perform the same motion."""

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from directanimator.data.synthetic import raster
from directanimator.data.synthetic.asset import load_asset
from directanimator.data.synthetic.identity import Identity, expression_offsets, identity_at
from directanimator.data.synthetic.kinematics import PosedSkeleton, pose_skeleton
from directanimator.data.synthetic.motion import DURATION, Kind, Motion, PoseTrack, motion_at
from directanimator.data.synthetic.scene import Scene, View, paint_backdrop, scene_at
from directanimator.data.synthetic.splits import NUM_IDENTITIES, NUM_MOTIONS, Split, random_stream
from directanimator.errors import UserError

MAX_FACE_YAW = np.deg2rad(100.0)
"""A head turned further from the camera than this shows no face."""
REFERENCE_GAP = 0.3
"""Seconds, at least, between the reference frame and the driving window."""
_CAMERA_DISTANCE = 4.2
_CAMERA: dict[View, tuple[float, float]] = {"full": (0.93, 2.25), "half": (1.27, 1.20), "bust": (1.50, 0.62)}
"""Height of the optical axis for a body of 1.72 m, and height of the view, in meters."""
_USUAL_HEIGHT = 1.72
_SHADOW_RADIUS, _SHADOW_FLATNESS, _SHADOW_STRENGTH = 0.35, 0.1, 0.55
_MIN_FACE_INSIDE = 0.5
_REFERENCE_TRIES = 4
_UPRIGHT_KINDS: tuple[Kind, ...] = ("gesture", "wave", "turn", "walk")
_BUST_SHARE = 0.55
"""Of the upright kinds, which are 46 % of motions: a quarter of all pairs. Others would leave the narrow view."""


@dataclass(frozen=True, eq=False)
class RenderedClip:
    """What the camera sees, and what is true about it."""

    frames: UInt8[np.ndarray, "f s s 3"]
    mask: UInt8[np.ndarray, "f s s"]
    """Alpha of the person, 0 to 255."""
    face_box: Float32[np.ndarray, "f 4"]
    """x0, y0, x1, y1 in pixels, clipped to the frame; NaN where the head is turned away or most of the face is cut."""
    background: UInt8[np.ndarray, "s s 3"]
    """The scene without the person and without the person's shadow."""
    joints: Float32[np.ndarray, "f j 3"]
    """Pixel x, pixel y, and distance from the camera in meters."""


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


@dataclass(frozen=True)
class _Camera:
    focal: float
    center_x: float
    center_y: float
    height: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) pixel x, pixel y and depth of points in meters."""
        depth = _CAMERA_DISTANCE - points[..., 2]
        x = self.center_x + self.focal * points[..., 0] / depth
        y = self.center_y - self.focal * (points[..., 1] - self.height) / depth
        return np.stack([x, y, depth], -1).astype(np.float32)


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


def _allocate(identity: Identity, pixels: int) -> _Buffers:
    mesh = np.empty((3, *identity.vertices.shape), np.float32)
    depth, owner = np.empty((pixels, pixels), np.float32), np.empty((pixels, pixels), np.int32)
    bary, linear = np.zeros((2, pixels, pixels), np.float32), np.empty((pixels, pixels, 3), np.float32)
    return _Buffers(mesh[0], mesh[1], mesh[2], depth, owner, bary, linear)


def _place_camera(identity: Identity, scene: Scene, view: View, pixels: int) -> _Camera:
    height, extent = _CAMERA[view]
    if view != "full":
        height *= identity.height / _USUAL_HEIGHT
    right, down = scene.camera_shift
    focal = pixels * _CAMERA_DISTANCE / extent * scene.camera_scale
    return _Camera(focal, pixels * (0.5 + right), pixels * (0.5 + down), height)


@functools.cache
def _display_table() -> np.ndarray:
    return raster.display_table()


def _with_expression(identity: Identity, strengths: np.ndarray) -> np.ndarray:
    vertices = identity.vertices.copy()
    vertices[identity.expressive] += np.tensordot(strengths.astype(np.float32), expression_offsets(), 1)
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
        _with_expression(identity, pose.expression[frame]),
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


def _cast_shadow(linear: np.ndarray, camera: _Camera, pelvis: np.ndarray) -> None:
    """Darken a soft disk on the floor under the pelvis, in place."""
    pixels, unit = len(linear), camera.focal / _CAMERA_DISTANCE
    x, _, _ = camera.project(pelvis)
    y = camera.center_y + camera.height * unit
    rx, ry = _SHADOW_RADIUS * unit, _SHADOW_FLATNESS * unit
    x0, x1 = max(0, int(x - rx)), min(pixels, int(x + rx))
    y0, y1 = max(0, int(y - ry)), min(pixels, int(y + ry))
    if x0 < x1 and y0 < y1:
        rows, columns = np.mgrid[y0:y1, x0:x1]
        reach = ((columns - x) / rx) ** 2 + ((rows - y) / ry) ** 2
        linear[y0:y1, x0:x1] *= (1 - _SHADOW_STRENGTH * np.clip(1 - reach, 0, 1))[..., None].astype(np.float32)


def _paint_person(identity: Identity, scene: Scene, camera: _Camera, gaze: np.ndarray, buffers: _Buffers) -> None:
    raster.project(
        buffers.posed, camera.focal, camera.center_x, camera.center_y, camera.height, _CAMERA_DISTANCE, buffers.screen
    )
    buffers.depth.fill(raster.FAR)
    buffers.owner.fill(-1)
    mesh = (identity.triangles, identity.materials)
    cut, bary = identity.look[raster.LOOK_CUT], (buffers.bary[0], buffers.bary[1])
    raster.rasterize(
        buffers.screen, *mesh, identity.single_sided, identity.surface, cut, buffers.depth, buffers.owner, *bary
    )
    look = (identity.look, identity.textiles, scene.light, scene.ambient, _eyes(gaze))
    raster.shade(buffers.owner, *bary, *mesh, identity.surface, buffers.normals, *look, buffers.linear)


def _face_yaw(camera: _Camera, rotation: np.ndarray, head: np.ndarray) -> float:
    """Radians in [0, pi] between the head's heading and the direction to the camera, seen from above."""
    heading = np.arctan2(rotation[0, 2], rotation[2, 2])
    towards = np.arctan2(-head[0], _CAMERA_DISTANCE - head[2])
    return float(np.abs((heading - towards + np.pi) % (2 * np.pi) - np.pi))


def _box_of_face(screen: np.ndarray, size: int) -> np.ndarray:
    """(4,) the box around projected face vertices within the frame, NaN when less than half of it is inside."""
    low, high = screen[:, :2].min(0), screen[:, :2].max(0)
    inner_low, inner_high = np.clip(low, 0, size), np.clip(high, 0, size)
    inside = np.prod(inner_high - inner_low) / np.prod(high - low)
    return np.concatenate([inner_low, inner_high]) if inside >= _MIN_FACE_INSIDE else np.full(4, np.nan)


def _check_request(times: np.ndarray, size: int, view: View, supersample: int) -> None:
    if view not in _CAMERA:
        raise UserError(f"synthetic view {view!r}: legal are {', '.join(_CAMERA)}")
    if times.size == 0 or size < 1 or supersample < 1:
        asked = f"{times.size} times, size {size}, supersample {supersample}"
        raise UserError(f"render_clip: {asked}: each must be 1 or more")


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
) -> RenderedClip:
    """The identity performing the motion in the scene at the given seconds, as size x size frames with ground truth.

    The camera stands still and frames the identity by its height. The same arguments give the same bytes.

    Raises: UserError for times outside the motion, an unknown view, or a size or supersample below 1."""
    _check_request(times, size, view, supersample)
    asset, pixels = load_asset(), size * supersample
    pose = motion.pose(times)
    skeleton = pose_skeleton(identity.joints, identity.alignment, pose)
    camera, buffers = _place_camera(identity, scene, view, pixels), _allocate(identity, pixels)
    backdrop = paint_backdrop(scene, view, pixels)
    background, _ = _bytes_of(backdrop, np.full((pixels, pixels), -1, np.int32), supersample)
    head, pelvis = asset.joint("head"), asset.joint("pelvis")
    frames, mask = np.empty((len(times), size, size, 3), np.uint8), np.empty((len(times), size, size), np.uint8)
    face_box = np.full((len(times), 4), np.nan, np.float32)
    joints = np.empty(skeleton.positions.shape, np.float32)
    for frame in range(len(times)):
        positions = skeleton.positions[frame] + _place_body(identity, skeleton, pose, frame, buffers)
        buffers.linear[...] = backdrop
        _cast_shadow(buffers.linear, camera, positions[pelvis])
        _paint_person(identity, scene, camera, pose.gaze[frame], buffers)
        frames[frame], mask[frame] = _bytes_of(buffers.linear, buffers.owner, supersample)
        joints[frame] = camera.project(positions)
        if _face_yaw(camera, skeleton.rotations[frame, head], positions[head]) <= MAX_FACE_YAW:
            face_box[frame] = _box_of_face(buffers.screen[identity.face] / supersample, size)
    joints[..., :2] /= supersample
    return RenderedClip(frames, mask, face_box, background, joints)


def _frontal_time(rng: np.random.Generator, motion: Motion, start: float, end: float) -> float:
    """Seconds outside the window, of a few candidates the one that faces the camera best."""
    before, after = max(0.0, start - REFERENCE_GAP), max(0.0, DURATION - end - REFERENCE_GAP)
    drawn = rng.uniform(0, before + after, _REFERENCE_TRIES)
    candidates = np.where(drawn < before, drawn, np.minimum(end + REFERENCE_GAP + drawn - before, DURATION))
    pose = motion.pose(candidates)
    away = np.abs((pose.yaw + pose.torso[:, 1] + pose.head[:, 1] + np.pi) % (2 * np.pi) - np.pi)
    return float(candidates[np.argmin(away)])


def pair_at(split: Split, index: int, num_frames: int, fps: float) -> SyntheticPair:
    """The pair of an index: two different people, two scenes, one motion, a window and a reference instant outside it.

    The reference is taken where the person rather faces the camera, as in footage of dancers.

    Raises: UserError when the window leaves no room for a reference in six seconds."""
    span, longest = (num_frames - 1) / fps, DURATION - 2 * REFERENCE_GAP
    if not 0 <= span < longest:
        raise UserError(
            f"synthetic clip of {num_frames} frames at {fps} fps: {span:.2f} s, legal is below {longest:.2f} s"
        )
    rng = random_stream("pair", split, index)
    people = NUM_IDENTITIES[split]
    reference = int(rng.integers(people))
    driver = (reference + 1 + int(rng.integers(people - 1))) % people
    motion = motion_at(split, int(rng.integers(NUM_MOTIONS[split])))
    start = rng.uniform(0, DURATION - span)
    times = np.minimum(start + np.arange(num_frames) / fps, DURATION)
    return SyntheticPair(
        identity=identity_at(split, reference),
        driver=identity_at(split, driver),
        motion=motion,
        scene=scene_at(split, int(rng.integers(2**31))),
        driver_scene=scene_at(split, int(rng.integers(2**31))),
        view="bust" if rng.random() < _BUST_SHARE and motion.kind in _UPRIGHT_KINDS else "half",
        reference_time=_frontal_time(rng, motion, float(times[0]), float(times[-1])),
        times=times,
    )
