"""Who is shown: body shape, skin, hair, clothes and accessories, drawn from one seed and meshed at rest."""

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, UInt8

from directanimator.data.synthetic import raster
from directanimator.data.synthetic.asset import LANDMARK_VERTICES, BodyAsset, Group, Surface, load_asset
from directanimator.data.synthetic.face import ACCENTS, EXPRESSIONS
from directanimator.data.synthetic.kinematics import rest_alignment
from directanimator.data.synthetic.portable import weighted_sum
from directanimator.data.synthetic.primitives import check_triangles, ellipsoid, joined, ring, sphere
from directanimator.data.synthetic.scene import hsv
from directanimator.data.synthetic.splits import NUM_IDENTITIES, Split, check_index, random_stream

HairStyle = Literal["buzz", "short", "messy", "afro", "long", "bun", "ponytail", "bald", "cap", "mohawk", "twin_buns"]

_STYLE_WEIGHTS: dict[HairStyle, float] = {
    "buzz": 0.08,
    "short": 0.2,
    "messy": 0.14,
    "afro": 0.1,
    "long": 0.2,
    "bun": 0.08,
    "ponytail": 0.1,
    "bald": 0.04,
    "cap": 0.06,
}
_OOD_STYLE_WEIGHTS: dict[HairStyle, float] = {"mohawk": 0.5, "twin_buns": 0.5}
"""Worn by the people of test_ood alone, and they wear no other."""
_HAIR_DEPTH: dict[HairStyle, float] = {
    "buzz": 0.004,
    "short": 0.016,
    "messy": 0.024,
    "afro": 0.055,
    "long": 0.012,
    "bun": 0.008,
    "ponytail": 0.009,
    "bald": 0.0,
    "cap": 0.014,
    "mohawk": 0.075,
    "twin_buns": 0.009,
}
_HAIR_COLORS = (
    (0.05, 0.04, 0.04),
    (0.16, 0.09, 0.05),
    (0.33, 0.18, 0.09),
    (0.68, 0.5, 0.26),
    (0.45, 0.16, 0.07),
    (0.58, 0.56, 0.54),
)
_HAIR_COLOR_WEIGHTS = (0.26, 0.24, 0.2, 0.15, 0.09, 0.06)
_IRISES = ((0.25, 0.13, 0.06), (0.35, 0.5, 0.66), (0.3, 0.45, 0.25), (0.12, 0.07, 0.05), (0.5, 0.36, 0.16))
_TOP_WEIGHTS = (0.24, 0.15, 0.1, 0.12, 0.1, 0.12, 0.07, 0.1)
_BOTTOM_WEIGHTS = (0.62, 0.05, 0.1, 0.1, 0.03, 0.1, 0.0, 0.0)
_OOD_PATTERNS = (raster.CHEVRON, raster.DIAMONDS)
_RIDGE = 0.022
"""Half width in meters of a mohawk."""
_MEAN_HEIGHT, _HEIGHT_SPREAD, _MIN_HEIGHT, _MAX_HEIGHT = 1.7, 0.5, 1.52, 1.88
_LENS_RADIUS = 0.024
_HEAD_MARK = 0.8
"""By how much more of itself a head differs from the mean one than its body does."""
_SINGLE_SIDED = (Group.BODY, Group.LEFT_EYE, Group.RIGHT_EYE, Group.UPPER_TEETH, Group.LOWER_TEETH, Group.TIGHTS)
_MATERIALS = {
    Group.LEFT_EYE: raster.MATERIAL_EYE,
    Group.RIGHT_EYE: raster.MATERIAL_EYE,
    Group.UPPER_TEETH: raster.MATERIAL_TEETH,
    Group.LOWER_TEETH: raster.MATERIAL_TEETH,
    Group.TIGHTS: raster.MATERIAL_TIGHTS,
    Group.SKIRT: raster.MATERIAL_SKIRT,
    Group.HAIR: raster.MATERIAL_HAIR,
}


@dataclass(frozen=True, eq=False)
class Identity:
    """A person at rest: mesh in meters, rig and look. Only identities of one split and index are the same person."""

    split: Split
    index: int
    style: HairStyle
    height: float
    """Meters, in [1.52, 1.88]."""
    vertices: Float32[np.ndarray, "v 3"]
    normals: Float32[np.ndarray, "v 3"]
    surface: Float32[np.ndarray, "v 11"]
    skin_joints: UInt8[np.ndarray, "v 4"]
    skin_weights: Float32[np.ndarray, "v 4"]
    triangles: Int32[np.ndarray, "t 3"]
    materials: Int32[np.ndarray, " t"]
    single_sided: Bool[np.ndarray, " t"]
    joints: Float32[np.ndarray, "j 3"]
    alignment: Float32[np.ndarray, "j 3 3"]
    look: Float32[np.ndarray, "r 6"]
    textiles: Float32[np.ndarray, "2 11"]
    expressive: Int64[np.ndarray, " m"]
    """Vertices that EXPRESSIONS move; in the order of `unit_offsets`."""
    accented: Int64[np.ndarray, " n"]
    """Vertices that ACCENTS move; in the order of `unit_offsets`."""
    feet: Int64[np.ndarray, " g"]
    face: Int64[np.ndarray, " p"]
    """Vertices of the face, brow to chin and ear to ear."""
    landmarks: Int64[np.ndarray, "68"]
    """Vertices of the face landmarks, in the order of iBUG 300-W."""
    ears: Int64[np.ndarray, "2"]
    """A vertex on the left and on the right ear."""
    asset_triangles: Int64[np.ndarray, " t"]
    """Row in the asset of each triangle, -1 for accessories: what is the same place on two people."""

    def __post_init__(self) -> None:
        """Raises: ValueError if a triangle names no vertex."""
        check_triangles(self.triangles, len(self.vertices))


@dataclass
class _Design:
    """Choices that shape both the mesh and the look."""

    style: HairStyle
    feminine: bool
    skirt: bool
    look: np.ndarray
    textiles: np.ndarray


@dataclass(frozen=True)
class _Prop:
    """A rigid part hung on one joint."""

    vertices: np.ndarray
    triangles: np.ndarray
    joint: str
    color: tuple[float, float, float] | None
    """None for hair."""


@functools.cache
def _moved_vertices(units: tuple[str, ...]) -> np.ndarray:
    asset = load_asset()
    moved = np.abs(asset.units(units)).sum((0, 2)) > 0
    return np.flatnonzero(moved & (asset.vertex_groups <= Group.LOWER_TEETH))


@functools.cache
def unit_offsets(units: tuple[str, ...]) -> Float32[np.ndarray, "e m 3"]:
    """Vertex offsets in meters of EXPRESSIONS or ACCENTS at full strength; the same for every identity."""
    return np.ascontiguousarray(load_asset().units(units)[:, _moved_vertices(units)])


def _pick(rng: np.random.Generator, weights: dict[HairStyle, float]) -> HairStyle:
    return list(weights)[int(rng.choice(len(weights), p=list(weights.values())))]


def _draw_skin_and_hair(rng: np.random.Generator, look: np.ndarray, feminine: bool) -> None:
    tone = rng.random()
    hue = 0.055 + 0.01 * rng.normal() + 0.01 * tone
    look[raster.LOOK_SKIN, :3] = hsv(hue, 0.30 + 0.38 * tone, 0.95 - 0.66 * tone**1.2)
    hair = _HAIR_COLORS[int(rng.choice(len(_HAIR_COLORS), p=_HAIR_COLOR_WEIGHTS))]
    dyed = hsv(rng.random(), 0.55, 0.6)
    look[raster.LOOK_HAIR, :3] = dyed if rng.random() < 0.04 else hair
    look[raster.LOOK_BROW, :3] = 0.7 * np.array(hair)
    look[raster.LOOK_BROW, 3] = 0.9 * rng.random()
    natural = look[raster.LOOK_SKIN, :3] * [0.9, 0.6, 0.6]
    painted = hsv(0.97 + 0.025 * rng.normal(), 0.7, 0.75)
    look[raster.LOOK_LIPS, :3] = painted if feminine and rng.random() < 0.5 else natural
    look[raster.LOOK_LID, :3] = hsv(rng.random(), 0.5, 0.5)
    look[raster.LOOK_LID, 3] = 0.6 * rng.random() if feminine else 0.0


def _draw_face(rng: np.random.Generator, look: np.ndarray, feminine: bool) -> None:
    look[raster.LOOK_ORIGIN, :3], look[raster.LOOK_ORIGIN, 3] = load_asset().face_origin, -0.955
    hairline = [0.066 + 0.007 * rng.normal(), -0.085, rng.uniform(0.3, 1.6), 0.012 * rng.random(), -0.108]
    look[raster.LOOK_HAIRLINE, :5] = hairline
    beard = 0.0 if feminine or rng.random() < 0.55 else rng.uniform(0.35, 1)
    brow = [rng.uniform(0.0035, 0.0065), rng.uniform(-0.002, 0.003), rng.uniform(-0.12, 0.15), beard]
    look[raster.LOOK_BROW_SHAPE, :4] = brow
    freckles = 0.0 if rng.random() < 0.75 else rng.random()
    look[raster.LOOK_BEARD, :3] = [rng.random() < 0.8, rng.random() < 0.7, freckles]
    look[raster.LOOK_IRIS, :3] = _IRISES[rng.integers(len(_IRISES))]


def _draw_clothes(rng: np.random.Generator, look: np.ndarray, skirt: bool) -> None:
    sleeve, hem = rng.choice([0.12, 0.25, 0.3, 0.62, 0.97, 0.97]), rng.choice([0.3, 0.42, 0.72, 0.94, 0.95, 0.95])
    waist, collar, shoe = rng.uniform(0.02, 0.09), rng.uniform(0.505, 0.565), rng.choice([0.97, 0.97, 0.9, 0.72])
    look[raster.LOOK_CUT] = [sleeve, 0.0 if skirt else hem, waist, collar, skirt, shoe]
    look[raster.LOOK_SHOE, :3] = hsv(rng.random(), 0.9 * rng.random(), rng.choice([0.12, 0.9, 0.6]))
    look[raster.LOOK_SOLE, :3] = rng.choice([0.92, 0.1])


def _draw_textiles(rng: np.random.Generator) -> np.ndarray:
    textiles, hue = np.zeros((2, 11), np.float32), rng.random()
    for row, weights in enumerate((_TOP_WEIGHTS, _BOTTOM_WEIGHTS)):
        textiles[row, 0] = rng.choice(len(weights), p=weights)
        textiles[row, 1] = rng.uniform(9, 24)
        main = hsv(hue + row * rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.95), rng.uniform(0.15, 0.95))
        second = hsv(rng.random(), rng.random(), rng.choice([0.08, 0.95, 0.7]))
        textiles[row, 2:] = [*main, *second, *hsv(rng.random(), 0.8, 0.9)]
    return textiles


def _draw_design(rng: np.random.Generator, split: Split) -> _Design:
    """The choices of a person; those of test_ood wear hair and patterns that nobody else wears."""
    is_ood = split == "test_ood"
    look = np.zeros((raster.LOOK_ROWS, 6), np.float32)
    feminine = bool(rng.random() < 0.5)
    style, skirt = _pick(rng, _OOD_STYLE_WEIGHTS if is_ood else _STYLE_WEIGHTS), bool(rng.random() < 0.35) and feminine
    _draw_skin_and_hair(rng, look, feminine)
    _draw_face(rng, look, feminine)
    _draw_clothes(rng, look, skirt)
    look[raster.LOOK_SCALP, 0] = style != "bald"
    textiles = _draw_textiles(rng)
    if is_ood:
        textiles[:, 0] = rng.choice(_OOD_PATTERNS, 2)
    return _Design(style, feminine, skirt, look, textiles)


def _body_height(asset: BodyAsset, vertices: np.ndarray) -> float:
    return float(np.ptp(vertices[asset.is_body, 1]))


def _with_marked_head(asset: BodyAsset, vertices: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """The vertices with a head that differs from the mean one by more than the body does, about its own joint.

    Sampled heads are alike beside real ones: an identity network took many for one person."""
    head = asset.joint("head")
    own = (vertices - joints[head]) - (asset.mean_vertices - asset.mean_joints[head])
    return vertices + np.float32(_HEAD_MARK) * asset.surface[:, Surface.HEAD, None] * own


def _draw_shape(rng: np.random.Generator, asset: BodyAsset) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and joints at rest, of a height that is drawn in from the extremes."""
    strengths = np.clip(rng.normal(0, 0.85, len(asset.vertex_components)), -2, 2).astype(np.float32)
    vertices = asset.mean_vertices + weighted_sum(strengths, asset.vertex_components)
    joints = asset.mean_joints + weighted_sum(strengths, asset.joint_components)
    vertices = _with_marked_head(asset, vertices, joints)
    drawn = _body_height(asset, vertices)
    wanted = np.clip(_MEAN_HEIGHT + _HEIGHT_SPREAD * (drawn - _MEAN_HEIGHT), _MIN_HEIGHT, _MAX_HEIGHT)
    scale = np.float32(wanted / drawn)
    return vertices * scale, joints * scale


def _lid_rows(asset: BodyAsset, unit: np.ndarray, eye: np.ndarray) -> tuple[int, int]:
    """The vertex in the middle of the upper lid's edge, and the one of the lower lid where a blink takes it."""
    points, drop = asset.mean_vertices, unit[:, 1]
    column = np.flatnonzero(asset.is_body & (np.abs(points[:, 0] - eye[0]) < 0.004))
    upper = int(column[np.argmin(drop[column])])
    still = column[(np.abs(drop[column]) < 0.3 * np.abs(drop[upper])) & (points[column, 1] < points[upper, 1])]
    distance = np.linalg.norm(points[still] - points[upper] - unit[upper], axis=1)
    return upper, int(still[np.argmin(distance)])


def _open_eyes(asset: BodyAsset, vertices: np.ndarray) -> np.ndarray:
    """The vertices with lids at 0.95 to 1.25 of the mean opening: a part of a blink is taken away or added."""
    opened = vertices.copy()
    for name, eye in zip(("eyeBlinkLeft", "eyeBlinkRight"), asset.eye_centers, strict=True):
        unit = asset.units([name])[0]
        upper, lower = _lid_rows(asset, unit, eye)
        usual = asset.mean_vertices[upper, 1] - asset.mean_vertices[lower, 1]
        ratio = (vertices[upper, 1] - vertices[lower, 1]) / usual
        opened -= (np.clip(ratio, 0.95, 1.25) - ratio) * unit
    return opened


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -40, 40)))


def _scalp(asset: BodyAsset, look: np.ndarray) -> np.ndarray:
    """(v,) soft mask in [0, 1] of the skin under hair."""
    front, nape, _, _, back = look[raster.LOOK_HAIRLINE, :5]
    x, y, z = (asset.mean_vertices - asset.face_origin).T
    above = _sigmoid((y - (front - 3.2 * x**2)) / 0.006)
    behind = _sigmoid((back - z) / 0.006) * _sigmoid((y - nape) / 0.008)
    covered = np.maximum(above, behind) * (1 - asset.surface[:, Surface.EAR])
    return covered * (asset.surface[:, Surface.HEAD] > 0.5) * asset.is_body


def _hair_depth(asset: BodyAsset, design: _Design) -> np.ndarray:
    """(v,) meters by which hair stands off the scalp."""
    scalp = _scalp(asset, design.look)
    rows = np.flatnonzero(scalp > 0.02)
    points = asset.mean_vertices[rows] - asset.face_origin
    crown = np.clip(0.55 + 5 * points[:, 1], 0.3, 1.5)
    lumps = np.ones(len(rows), np.float32)
    if design.style in ("short", "messy", "afro"):
        raster.noise_at(60 * points, lumps)
        lumps = 0.6 + 0.8 * lumps
    depth = np.zeros(len(scalp), np.float32)
    if design.style == "mohawk":
        lumps = 0.05 + np.exp(-((points[:, 0] / _RIDGE) ** 4))
    depth[rows] = scalp[rows] * _HAIR_DEPTH[design.style] * crown * lumps
    return depth


def _cloth_depth(rng: np.random.Generator, asset: BodyAsset) -> np.ndarray:
    """(v,) meters by which the tights stand off as clothes, and shoes off the feet."""
    top, bottom = rng.uniform(0.004, 0.028), rng.uniform(0.004, 0.04)
    leg, arm, height = asset.surface[:, Surface.LEG], asset.surface[:, Surface.ARM], asset.mean_vertices[:, 1]
    trousers = 0.006 + bottom * (0.25 + 0.75 * np.clip(leg, 0, 1))
    shirt = 0.006 + top * np.clip(1 - np.abs(arm - 0.3), 0.3, 1) * np.clip(6 * (0.5 - height), 0.15, 1)
    is_tights = asset.vertex_groups == Group.TIGHTS
    shoes = np.where(asset.is_body & (leg > 1), 0.006, 0)
    return np.where(is_tights, np.where(leg > 0, trousers, shirt), shoes).astype(np.float32)


def _normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    normals = np.zeros_like(vertices)
    raster.vertex_normals(vertices, triangles, normals)
    return normals


@functools.cache
def _lowest_corners(asset: BodyAsset) -> np.ndarray:
    """(t, 11) the least of each surface coordinate among a triangle's corners."""
    return asset.surface[asset.triangles].min(1)


def _worn_tights(asset: BodyAsset, design: _Design) -> np.ndarray:
    low = _lowest_corners(asset)
    sleeve, hem, _, collar = design.look[raster.LOOK_CUT, :4] + 0.02
    legs = low[:, Surface.LEG] <= 0 if design.skirt else low[:, Surface.LEG] < hem
    return (low[:, Surface.ARM] < sleeve) & (low[:, Surface.Y] < collar) & legs


def _worn_triangles(rng: np.random.Generator, asset: BodyAsset, design: _Design) -> np.ndarray:
    """(t,) which triangles of the asset this identity shows."""
    groups = asset.triangle_groups
    shown = (groups <= Group.LOWER_TEETH) | ((groups == Group.TIGHTS) & _worn_tights(asset, design))
    hem, hair_end = rng.uniform(-0.75, -0.32), rng.uniform(-0.45, -0.12)
    if design.skirt:
        height = asset.mean_vertices[asset.triangles, 1]
        below_waist = height.max(1) < design.look[raster.LOOK_CUT, 2] + 0.05
        shown |= (groups == Group.SKIRT) & below_waist & (height.min(1) > hem)
    if design.style == "long":
        _, y, z = (asset.mean_vertices[asset.triangles].mean(1) - asset.face_origin).T
        shown |= (groups == Group.HAIR) & ~((z > -0.075) & (y < 0.07)) & (y > hair_end)
    return shown


def _head_box(asset: BodyAsset, vertices: np.ndarray) -> tuple[list[float], float, float, float]:
    """Point between the eyes, top, half width and back of the head."""
    balls = [vertices[asset.vertex_groups == eye].mean(0) for eye in (Group.LEFT_EYE, Group.RIGHT_EYE)]
    eyes = [float(value) for value in (balls[0] + balls[1]) / 2]
    head = vertices[(asset.surface[:, Surface.HEAD] > 0.8) & asset.is_body]
    return eyes, float(head[:, 1].max()), float(head[:, 0].max()), float(head[:, 2].min())


def _hair_props(rng: np.random.Generator, asset: BodyAsset, style: HairStyle, vertices: np.ndarray) -> list[_Prop]:
    eyes, top, half_width, back = _head_box(asset, vertices)
    middle, color = (eyes[2] + back) / 2, hsv(rng.random(), 0.8, rng.uniform(0.3, 0.9))
    if style == "bun":
        return [_Prop(*ellipsoid((0.045, 0.04, 0.045), (0.0, top + 0.01, middle - 0.03)), "head", None)]
    if style == "twin_buns":
        sides = [ellipsoid((0.04, 0.038, 0.04), (sign * 0.065, top - 0.005, middle)) for sign in (1.0, -1.0)]
        return [_Prop(*joined(sides), "head", None)]
    if style == "ponytail":
        tail = ellipsoid((0.035, 0.15, 0.035), (0.0, eyes[1] - 0.06, back - 0.03))
        tie = ellipsoid((0.03, 0.03, 0.03), (0.0, eyes[1] + 0.06, back))
        return [_Prop(*tail, "head", None), _Prop(*tie, "head", color)]
    if style == "cap":
        crown = ellipsoid((half_width * 0.98, 0.085, (eyes[2] - back) * 0.62 + 0.02), (0.0, eyes[1] + 0.07, middle))
        peak = ellipsoid((half_width * 0.75, 0.012, 0.07), (0.0, eyes[1] + 0.072, eyes[2] + 0.04))
        red, green, blue = color
        return [_Prop(*crown, "head", color), _Prop(*peak, "head", (0.8 * red, 0.8 * green, 0.8 * blue))]
    return []


def _temple(sign: float, hinge: float, ear: float, height: float, front: float) -> tuple[np.ndarray, np.ndarray]:
    """A side arm of the glasses, from the hinge at a lens outwards to the ear 12 cm behind it."""
    points, triangles = ellipsoid((0.002, 0.002, 0.06), (0.0, height, front - 0.06))
    behind = (front - points[:, 2]) / 0.12
    return points + np.outer(sign * (hinge + (ear - hinge) * behind), [1, 0, 0]), triangles


def _glasses(rng: np.random.Generator, asset: BodyAsset, vertices: np.ndarray) -> list[_Prop]:
    color = hsv(rng.random(), rng.random(), rng.choice([0.05, 0.1, 0.8]))
    if rng.random() >= 0.22:
        return []
    eyes, _, half_width, _ = _head_box(asset, vertices)
    balls = [vertices[asset.vertex_groups == group] for group in (Group.LEFT_EYE, Group.RIGHT_EYE)]
    front = float(max(ball[:, 2].max() for ball in balls)) + 0.014
    points, triangles = ring(_LENS_RADIUS, 0.0026)
    centers = [np.array([1.05 * ball[:, 0].mean(), ball[:, 1].mean() - 0.002, front]) for ball in balls]
    lenses = [(points + center, triangles) for center in centers]
    bridge = ellipsoid((0.012, 0.002, 0.002), (0.0, eyes[1], front + 0.004))
    edge = float(max(abs(center[0]) for center in centers)) + _LENS_RADIUS
    temples = [_temple(sign, edge, 0.88 * half_width, eyes[1], front) for sign in (1.0, -1.0)]
    return [_Prop(*joined([*lenses, bridge, *temples]), "head", color)]


def _backpack(rng: np.random.Generator, asset: BodyAsset, vertices: np.ndarray, joints: np.ndarray) -> list[_Prop]:
    color = hsv(rng.random(), 0.7, 0.7)
    if rng.random() >= 0.15:
        return []
    mean, tights = asset.mean_vertices, asset.vertex_groups == Group.TIGHTS
    back = vertices[tights & (np.abs(mean[:, 0]) < 0.1) & (mean[:, 1] > 0.2) & (mean[:, 1] < 0.45)][:, 2].min()
    points, triangles = sphere()
    block = np.sign(points) * np.abs(points) ** 0.6
    center = [0, joints[asset.joint("spine_03"), 1] + 0.1, back - 0.05]
    return [_Prop(block * [0.15, 0.2, 0.07] + center, triangles, "spine_03", color)]


def _append_props(mesh: dict[str, np.ndarray], props: list[_Prop], look: np.ndarray) -> dict[str, np.ndarray]:
    """The mesh with the props added; writes their colors into the look."""
    asset, row = load_asset(), raster.LOOK_PROP
    for prop in props:
        count = len(prop.vertices)
        material = raster.MATERIAL_HAIR
        if prop.color is not None:
            look[row, :3], material, row = prop.color, raster.MATERIAL_PROP + row - raster.LOOK_PROP, row + 1
        points = prop.vertices.astype(np.float32)
        added = {
            "vertices": points,
            "surface": np.concatenate([points, np.zeros((count, len(Surface) - 3), np.float32)], 1),
            "skin_joints": np.full((count, 4), asset.joint(prop.joint), np.uint8),
            "skin_weights": np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
            "triangles": prop.triangles + len(mesh["vertices"]),
            "materials": np.full(len(prop.triangles), material, np.int32),
            "single_sided": np.zeros(len(prop.triangles), bool),
            "asset_triangles": np.full(len(prop.triangles), -1, np.int64),
        }
        mesh = {name: np.concatenate([values, added[name]]) for name, values in mesh.items()}
    return mesh


def _compact(mesh: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The mesh without unused vertices, with normals; and the new row of each old vertex (-1 when it is gone)."""
    is_used = np.zeros(len(mesh["vertices"]), bool)
    is_used[mesh["triangles"]] = True
    used, rows = np.flatnonzero(is_used), np.full(len(is_used), -1, np.int64)
    rows[used] = np.arange(len(used))
    names = ("vertices", "surface", "skin_joints", "skin_weights")
    per_vertex = {name: np.ascontiguousarray(mesh[name][used]) for name in names}
    mesh = mesh | per_vertex | {"triangles": rows[mesh["triangles"]].astype(np.int32)}
    return mesh | {"normals": _normals(mesh["vertices"], mesh["triangles"])}, rows


def _rows_of_face(asset: BodyAsset) -> np.ndarray:
    _, y, z = (asset.mean_vertices - asset.face_origin).T
    near = (y < 0.042) & (y > -0.14) & (z > -0.105)
    return np.flatnonzero(asset.is_body & (asset.surface[:, Surface.HEAD] > 0.8) & near)


def _rows_of_ears(asset: BodyAsset) -> np.ndarray:
    """(2,) the vertices that stand out farthest to the left and to the right among those of the ears."""
    ears = np.flatnonzero(asset.is_body & (asset.surface[:, Surface.EAR] > 0.6))
    x = asset.mean_vertices[ears, 0]
    return ears[[np.argmax(x), np.argmin(x)]]


def _base_mesh(asset: BodyAsset, vertices: np.ndarray, shown: np.ndarray) -> dict[str, np.ndarray]:
    groups = asset.triangle_groups[shown]
    materials = np.array([_MATERIALS.get(group, raster.MATERIAL_BODY) for group in Group], np.int32)
    return {
        "vertices": vertices.astype(np.float32),
        "surface": asset.surface,
        "skin_joints": asset.skin_joints,
        "skin_weights": asset.skin_weights,
        "triangles": asset.triangles[shown],
        "materials": materials[groups],
        "single_sided": np.isin(groups, _SINGLE_SIDED),
        "asset_triangles": np.flatnonzero(shown),
    }


@functools.lru_cache(maxsize=512)
def identity_at(split: Split, index: int) -> Identity:
    """The person of an index; about 0.02 s unless cached.

    Raises: UserError for an index outside the split."""
    check_index("identity", split, index, NUM_IDENTITIES[split])
    rng, asset = random_stream("identity", split, index), load_asset()
    vertices, joints = _draw_shape(rng, asset)
    vertices, height = _open_eyes(asset, vertices), _body_height(asset, vertices)
    design = _draw_design(rng, split)
    depth = _hair_depth(asset, design) + _cloth_depth(rng, asset)
    vertices = vertices + depth[:, None] * _normals(vertices, asset.triangles)
    props = _hair_props(rng, asset, design.style, vertices)
    props += _glasses(rng, asset, vertices) + _backpack(rng, asset, vertices, joints)
    mesh = _append_props(_base_mesh(asset, vertices, _worn_triangles(rng, asset, design)), props, design.look)
    mesh, rows = _compact(mesh)
    return Identity(
        **mesh,
        split=split,
        index=index,
        style=design.style,
        height=height,
        joints=joints,
        alignment=rest_alignment(joints),
        look=design.look,
        textiles=design.textiles,
        expressive=rows[_moved_vertices(EXPRESSIONS)],
        accented=rows[_moved_vertices(ACCENTS)],
        feet=np.flatnonzero(mesh["surface"][:, Surface.LEG] > 0.9),
        face=rows[_rows_of_face(asset)],
        landmarks=rows[list(LANDMARK_VERTICES)],
        ears=rows[_rows_of_ears(asset)],
    )
