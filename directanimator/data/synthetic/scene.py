"""Where a synthetic human stands: wall, floor, furniture, light, and the small offset of the camera."""

import colorsys
import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from directanimator.data.synthetic.splits import Split, random_stream

View = Literal["half", "bust", "full"]
WallPattern = Literal["plain", "planks", "bricks", "dots"]

_HORIZON: dict[View, float] = {"full": 0.72, "half": 0.95, "bust": 1.2}
_PICTURE_GAMMA = 1.4
_Rgb = tuple[float, float, float]


def hsv(hue: float, saturation: float, value: float) -> _Rgb:
    """Red, green, blue in [0, 1]; the hue wraps, the others are clipped to [0, 1]."""
    return colorsys.hsv_to_rgb(hue % 1, min(1.0, max(0.0, saturation)), min(1.0, max(0.0, value)))


@dataclass(frozen=True)
class Panel:
    """A colored rectangle: a framed picture on the wall, or a piece of furniture. Units are frame sides."""

    color: _Rgb
    x: float
    y: float
    """Pictures: center as a share of the wall's height. Furniture: its top edge."""
    half_width: float
    half_height: float


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything behind and around the person, and how the camera is set."""

    split: Split
    index: int
    wall: _Rgb
    wall_pattern: WallPattern
    wall_frequency: int
    bright_at: float
    floor: _Rgb
    floor_boards: bool
    pictures: tuple[Panel, ...]
    furniture: tuple[Panel, ...]
    light: Float32[np.ndarray, " 3"]
    """Unit direction towards the light."""
    ambient: Float32[np.ndarray, "3 3"]
    """Color of the light from above, from below, and of the lamp itself."""
    camera_scale: float
    """Zoom in [0.92, 1.08]."""
    camera_shift: tuple[float, float]
    """Right and down, as shares of the frame, each in [-0.05, 0.05]."""


def _picture(rng: np.random.Generator) -> Panel:
    color = hsv(rng.random(), rng.random(), rng.uniform(0.3, 1))
    return Panel(color, rng.uniform(0, 1), rng.uniform(0.06, 0.9), rng.uniform(0.05, 0.18), rng.uniform(0.05, 0.2))


def _furniture(rng: np.random.Generator) -> Panel:
    x = rng.uniform(0, 0.22) if rng.random() < 0.5 else rng.uniform(0.78, 1)
    color = hsv(rng.random(), 0.7 * rng.random(), rng.uniform(0.2, 0.8))
    return Panel(color, x, rng.uniform(0.45, 0.75), rng.uniform(0.06, 0.14), 0.0)


def _light(rng: np.random.Generator) -> np.ndarray:
    azimuth, elevation = rng.uniform(-1.1, 1.1), rng.uniform(0.3, 1.0)
    level = np.cos(elevation)
    return np.array([np.sin(azimuth) * level, np.sin(elevation), np.cos(azimuth) * level], np.float32)


def _ambient(rng: np.random.Generator) -> np.ndarray:
    warmth = rng.uniform(-0.06, 0.06)
    rows = [[0.42 + warmth, 0.42, 0.43 - warmth], [0.28, 0.26, 0.25], [0.78 + warmth, 0.76, 0.74 - warmth]]
    return (np.array(rows) * rng.uniform(0.85, 1.15)).astype(np.float32)


@functools.lru_cache(maxsize=256)
def scene_at(split: Split, index: int) -> Scene:
    """The scene of an index.

    Raises: UserError for a negative index."""
    rng = random_stream("scene", split, index)
    patterns: tuple[WallPattern, ...] = ("plain", "plain", "planks", "bricks", "dots")
    warm = rng.random() < 0.6
    return Scene(
        split=split,
        index=index,
        wall=hsv(rng.random(), rng.uniform(0.03, 0.45), rng.uniform(0.45, 0.95)),
        wall_pattern=patterns[rng.integers(len(patterns))],
        wall_frequency=int(rng.integers(6, 16)),
        bright_at=rng.random(),
        floor=hsv(rng.uniform(0.04, 0.12) if warm else rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.75)),
        floor_boards=bool(rng.random() < 0.6),
        pictures=tuple(_picture(rng) for _ in range(rng.integers(0, 4))),
        furniture=tuple(_furniture(rng) for _ in range(rng.integers(0, 3))),
        light=_light(rng),
        ambient=_ambient(rng),
        camera_scale=rng.uniform(0.92, 1.08),
        camera_shift=(rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.05)),
    )


def _wall_lines(pattern: WallPattern, frequency: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of light that the pattern takes away, of a shape that broadcasts with (p, p)."""
    if pattern == "planks":
        return 0.12 * ((x * frequency) % 1 < 0.08)
    if pattern == "bricks":
        row = y * 14
        return 0.15 * (((x * 9 + 0.5 * (np.floor(row) % 2)) % 1 < 0.06) | (row % 1 < 0.1))
    if pattern == "dots":
        return 0.3 * ((((x * 14) % 1 - 0.5) ** 2 + ((y * 14) % 1 - 0.5) ** 2) < 0.05)
    return np.zeros_like(x)


def _wall_shade(scene: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    shade = 1 - 0.25 * np.abs(x - scene.bright_at) - 0.1 * y
    return np.asarray(shade * (1 - _wall_lines(scene.wall_pattern, scene.wall_frequency, x, y)))


def _floor_shade(scene: Scene, x: np.ndarray, y: np.ndarray, horizon: float) -> np.ndarray:
    nearness = 1 / np.maximum(y - horizon + 0.06, 1e-3)
    across, away = 0.25 * (x - 0.5) * nearness, 0.6 * nearness
    if scene.floor_boards:
        board = np.floor(across * 12)
        joints: Bool[np.ndarray, "r p"] = (away * 2 + board * 0.37) % 1 < 0.04
        return np.asarray(1 - 0.22 * ((across * 12) % 1 < 0.05) - 0.1 * joints)
    return np.asarray(0.85 + 0.25 * ((np.floor(across * 8) + np.floor(away * 3)) % 2))


def _within(offset: np.ndarray, reach: float) -> slice:
    """Where a row or a column of offsets is nearer than `reach` to its zero; they are ordered."""
    inside = np.flatnonzero(np.abs(offset.ravel()) < reach)
    return slice(inside[0], inside[-1] + 1) if len(inside) else slice(0, 0)


def _paint(planes: np.ndarray, rows: slice, columns: slice, color: _Rgb, shade: np.ndarray | float) -> None:
    for plane, share in zip(planes, color, strict=True):
        plane[rows, columns] = share * shade


def _hang(planes: np.ndarray, panel: Panel, x: np.ndarray, y: np.ndarray, horizon: float) -> None:
    center = panel.y * (horizon - 0.1)
    across, down = (x - panel.x) / panel.half_width, (y - center) / panel.half_height
    _paint(planes, _within(down, 1.0), _within(across, 1.0), panel.color, 0.35)
    rows = _within(down, 0.88)
    _paint(planes, rows, _within(across, 0.88), panel.color, 1 - 0.3 * down[rows])


def _place(planes: np.ndarray, panel: Panel, x: np.ndarray, y: np.ndarray, horizon: float) -> None:
    standing = np.flatnonzero((y > panel.y) & (y < horizon + 0.12))
    rows = slice(standing[0], standing[-1] + 1) if len(standing) else slice(0, 0)
    _paint(planes, rows, _within(x - panel.x, panel.half_width), panel.color, 1 - 0.3 * (y[rows] - panel.y))


def paint_backdrop(scene: Scene, view: View, pixels: int) -> Float32[np.ndarray, "pixels pixels 3"]:
    """The scene without the person, linear light in [0, 1]."""
    x, y = np.arange(pixels)[None] / pixels, np.arange(pixels)[:, None] / pixels
    horizon = _HORIZON[view] + scene.camera_shift[1]
    everywhere, planes = slice(None), np.empty((3, pixels, pixels))
    _paint(planes, everywhere, everywhere, scene.wall, _wall_shade(scene, x, y))
    for panel in scene.pictures:
        _hang(planes, panel, x, y, horizon)
    floor = slice(int((y <= horizon).sum()), None)
    _paint(planes, floor, everywhere, scene.floor, _floor_shade(scene, x, y[floor], horizon))
    planes[:, _within(y - horizon, 0.008)] *= 0.7
    for panel in scene.furniture:
        _place(planes, panel, x, y, horizon)
    return np.ascontiguousarray(np.moveaxis(np.clip(planes, 0, 1) ** _PICTURE_GAMMA, 0, -1), np.float32)
