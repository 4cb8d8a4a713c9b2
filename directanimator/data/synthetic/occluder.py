"""Things that stand between the camera and a person: a pole, a plant, a box or a ball, each a small mesh."""

import functools
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32, Int32

from directanimator.data.synthetic import raster
from directanimator.data.synthetic.primitives import block, check_triangles, ellipsoid, joined
from directanimator.data.synthetic.scene import Scene, View, hsv
from directanimator.data.synthetic.splits import Split, random_stream
from directanimator.data.synthetic.window import Window

OccluderKind = Literal["pole", "plant", "box", "ball"]

_REACH: dict[View, tuple[float, float]] = {"full": (0.35, 1.0), "half": (0.28, 1.15), "bust": (0.16, 1.4)}
"""How far to either side an occluder stands, and the height in meters that it should reach."""
_NEAR, _FAR = 0.95, 1.5
"""Meters in front of the floor's origin; hands reach less far."""


@dataclass(frozen=True, eq=False)
class Occluder:
    """A mesh that stands still in the scene, in meters; the person's pelvis is above the origin of the floor."""

    kind: OccluderKind
    vertices: Float32[np.ndarray, "v 3"]
    normals: Float32[np.ndarray, "v 3"]
    triangles: Int32[np.ndarray, "t 3"]
    materials: Int32[np.ndarray, " t"]
    look: Float32[np.ndarray, "r 6"]

    def __post_init__(self) -> None:
        """Raises: ValueError if a triangle names no vertex."""
        check_triangles(self.triangles, len(self.vertices))


Part = tuple[tuple[np.ndarray, np.ndarray], tuple[float, float, float]]


def make_occluder(kind: OccluderKind, parts: list[Part]) -> Occluder:
    """The occluder of up to eight colored parts, each (vertices, triangles) and a color."""
    vertices, triangles = joined([mesh for mesh, _ in parts])
    look = np.zeros((raster.LOOK_ROWS, 6), np.float32)
    for row, (_, color) in enumerate(parts):
        look[raster.LOOK_PROP + row, :3] = color
    materials = np.repeat(raster.MATERIAL_PROP + np.arange(len(parts)), [len(mesh[1]) for mesh, _ in parts])
    points, normals = vertices.astype(np.float32), np.zeros(vertices.shape, np.float32)
    raster.vertex_normals(points, triangles, normals)
    return Occluder(kind, points, normals, triangles, materials.astype(np.int32), look)


def _plant(rng: np.random.Generator, x: float, z: float, top: float) -> list[Part]:
    pot = block((0.13, 0.16, 0.13), (x, 0.16, z)), hsv(0.05, 0.6, rng.uniform(0.3, 0.7))
    leaves = []
    for _ in range(12):
        low = rng.uniform(0.3, 0.95)
        side, away, width = rng.uniform(-0.16, 0.16), rng.uniform(-0.1, 0.1), rng.uniform(0.02, 0.06)
        leaves.append(ellipsoid((width, 0.2 * top, 0.02), (x + side, low * top, z + away)))
    stem = ellipsoid((0.02, 0.5 * top, 0.02), (x, 0.5 * top, z))
    return [pot, (joined([stem, *leaves]), hsv(rng.uniform(0.25, 0.4), 0.6, rng.uniform(0.25, 0.6)))]


def _parts(rng: np.random.Generator, kind: OccluderKind, view: View) -> list[Part]:
    side, top = _REACH[view]
    x, z, color = rng.uniform(-side, side), rng.uniform(_NEAR, _FAR), hsv(rng.random(), rng.random(), rng.random())
    size = side * rng.uniform(0.5, 0.9)
    if kind == "pole":
        return [(block((0.25 * size + 0.01, 1.5, 0.05), (x, 1.5, z)), color)]
    if kind == "box":
        return [(block((size, 0.5 * top, 0.15), (x, 0.5 * top, z)), color)]
    if kind == "ball":
        return [(ellipsoid((0.6 * size, 0.6 * size, 0.6 * size), (x, top * rng.uniform(0.8, 1.05), z)), color)]
    return _plant(rng, x, z, top)


@functools.lru_cache(maxsize=64)
def occluder_at(split: Split, index: int, view: View) -> Occluder:
    """The occluder of an index, sized for the view; no training or test item has one unless it is asked for.

    Raises: UserError for an unknown split or a negative index."""
    rng = random_stream("occluder", split, index)
    kinds = get_args(OccluderKind)
    kind: OccluderKind = kinds[int(rng.integers(len(kinds)))]
    return make_occluder(kind, _parts(rng, kind, view))


def shade_occluder(
    occluder: Occluder,
    window: Window,
    owner: np.ndarray,
    bary: tuple[np.ndarray, np.ndarray],
    scene: Scene,
    linear: np.ndarray,
) -> None:
    """Write linear light wherever the occluder owns a sample of a window."""
    surface = np.zeros((len(occluder.vertices), 11), np.float32)
    textiles, eyes = np.zeros((2, 11), np.float32), np.zeros((2, 6), np.float32)
    mesh = (occluder.triangles, occluder.materials, surface, occluder.normals)
    raster.shade(*window, owner, *bary, *mesh, occluder.look, textiles, scene.light, scene.ambient, eyes, linear)
