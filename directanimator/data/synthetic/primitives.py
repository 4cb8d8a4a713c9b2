"""Small closed meshes that props and occluders are made of: (vertices, triangles), in meters."""

import functools

import numpy as np
from jaxtyping import Float, Int32

Mesh = tuple[Float[np.ndarray, "_ 3"], Int32[np.ndarray, "_ 3"]]
_Triple = tuple[float, float, float]


def check_triangles(triangles: Int32[np.ndarray, "t 3"], num_vertices: int) -> None:
    """Nothing, when there is every vertex that a triangle names; compiled code would read past the end.

    Raises: ValueError otherwise."""
    if triangles.size and not 0 <= triangles.min() <= triangles.max() < num_vertices:
        raise ValueError(f"a triangle names a vertex that is not there; there are {num_vertices}")


@functools.cache
def sphere(around: int = 14, down: int = 10) -> Mesh:
    """The unit sphere."""
    polar, turn = np.meshgrid(np.pi * np.arange(down + 1) / down, 2 * np.pi * np.arange(around) / around, indexing="ij")
    points = np.stack([np.sin(polar) * np.cos(turn), np.cos(polar), np.sin(polar) * np.sin(turn)], -1)
    row, column = np.meshgrid(np.arange(down), np.arange(around), indexing="ij")
    return points.reshape(-1, 3), _quads(row, column, around)


def _quads(row: np.ndarray, column: np.ndarray, around: int) -> np.ndarray:
    a, b = row * around + column, row * around + (column + 1) % around
    return np.stack([a, b, a + around, b, b + around, a + around], -1).reshape(-1, 3).astype(np.int32)


@functools.cache
def ring(radius: float, thickness: float, around: int = 18, tube: int = 6) -> Mesh:
    """A torus about the z axis."""
    turn, roll = np.meshgrid(2 * np.pi * np.arange(around) / around, 2 * np.pi * np.arange(tube) / tube, indexing="ij")
    reach = radius + thickness * np.cos(roll)
    points = np.stack([reach * np.cos(turn), reach * np.sin(turn), thickness * np.sin(roll)], -1).reshape(-1, 3)
    row, column = np.meshgrid(np.arange(around), np.arange(tube), indexing="ij")
    return points, _quads(row, column, tube) % len(points)


def ellipsoid(radii: _Triple, center: _Triple) -> Mesh:
    """A sphere stretched along the axes."""
    points, triangles = sphere()
    return points * radii + center, triangles


def block(half: _Triple, center: _Triple) -> Mesh:
    """A box of the given half sides; its faces share no vertex, so that its edges are sharp."""
    points: list[np.ndarray] = []
    triangles: list[np.ndarray] = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            corner = np.full((4, 3), sign)
            corner[:, [(axis + 1) % 3, (axis + 2) % 3]] = [[-1, -1], [1, -1], [1, 1], [-1, 1]]
            start = 4 * len(points)
            order = [[0, 1, 2], [0, 2, 3]] if sign > 0 else [[0, 2, 1], [0, 3, 2]]
            points.append(corner * half + center)
            triangles.append(np.array(order) + start)
    return np.concatenate(points), np.concatenate(triangles).astype(np.int32)


def joined(parts: list[Mesh]) -> Mesh:
    """All parts as one mesh."""
    starts = np.cumsum([0, *(len(points) for points, _ in parts[:-1])])
    triangles = [faces + start for (_, faces), start in zip(parts, starts, strict=True)]
    return np.concatenate([points for points, _ in parts]), np.concatenate(triangles).astype(np.int32)
