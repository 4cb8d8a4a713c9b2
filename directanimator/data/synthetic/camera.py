"""Where the camera stands, and how points in meters become pixels."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32

from directanimator.data.synthetic.scene import Scene, View
from directanimator.errors import UserError, did_you_mean

Projection = Literal["perspective", "orthographic"]

CAMERA_DISTANCE = 4.2
"""Meters from the origin of the floor to the camera, along z."""
_CAMERA: dict[View, tuple[float, float]] = {"full": (0.93, 2.25), "half": (1.27, 1.20), "bust": (1.50, 0.62)}
"""Height of the optical axis for a body of 1.72 m, and height of the view, in meters."""
_USUAL_HEIGHT = 1.72


@dataclass(frozen=True)
class Camera:
    """A still camera that looks along -z. Lengths are pixels, except height and depth: meters."""

    focal: float
    center_x: float
    center_y: float
    height: float
    projection: Projection = "perspective"

    @property
    def scale(self) -> float:
        """Pixels per meter at the distance of the floor's origin."""
        return self.focal / CAMERA_DISTANCE

    def project(self, points: Float32[np.ndarray, "*n 3"]) -> Float32[np.ndarray, "*n 3"]:
        """Pixel x, pixel y, and depth in meters of points in meters."""
        depth = CAMERA_DISTANCE - points[..., 2]
        reach = depth if self.projection == "perspective" else CAMERA_DISTANCE
        x = self.center_x + self.focal * points[..., 0] / reach
        y = self.center_y - self.focal * (points[..., 1] - self.height) / reach
        return np.stack([x, y, depth], -1).astype(np.float32)

    def turned_away(
        self, rotations: Float32[np.ndarray, "f 3 3"], positions: Float32[np.ndarray, "f 3"]
    ) -> Float32[np.ndarray, " f"]:
        """Radians in [0, pi] between a part's heading and the direction from it to the camera, seen from above."""
        heading = np.arctan2(rotations[:, 0, 2], rotations[:, 2, 2])
        sideways = positions[:, 0] if self.projection == "perspective" else np.zeros_like(positions[:, 0])
        towards = np.arctan2(-sideways, CAMERA_DISTANCE - positions[:, 2])
        return np.asarray(np.abs((heading - towards + np.pi) % (2 * np.pi) - np.pi))


def check_view(view: View) -> None:
    """Nothing, when the view is known.

    Raises: UserError otherwise."""
    if view not in _CAMERA:
        raise UserError(f"synthetic view {view!r}: legal are {', '.join(_CAMERA)}{did_you_mean(str(view), _CAMERA)}")


def check_projection(projection: Projection) -> None:
    """Nothing, when the projection is known.

    Raises: UserError otherwise."""
    legal = get_args(Projection)
    if projection not in legal:
        near = did_you_mean(str(projection), legal)
        raise UserError(f"synthetic projection {projection!r}: legal are {', '.join(legal)}{near}")


def place_camera(
    height: float, scene: Scene, view: View, pixels: int, projection: Projection = "perspective"
) -> Camera:
    """The camera that frames a body of `height` meters in a picture of `pixels` a side."""
    axis, extent = _CAMERA[view]
    if view != "full":
        axis *= height / _USUAL_HEIGHT
    right, down = scene.camera_shift
    focal = pixels * CAMERA_DISTANCE / extent * scene.camera_scale
    return Camera(focal, pixels * (0.5 + right), pixels * (0.5 + down), axis, projection)
