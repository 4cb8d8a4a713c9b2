"""The pixel grid that cues live on, and the one way to bring images to it."""

import cv2
import numpy as np
from jaxtyping import UInt8

CanvasSize = int | tuple[int, int]
"""Side of a square canvas, or (height, width), in pixels."""


def height_width(size: CanvasSize) -> tuple[int, int]:
    """Height and width in pixels, both at least 1.

    Raises: ValueError if a side is below 1."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"canvas sides must be at least 1 pixel, got {height} x {width}")
    return height, width


def resize(images: UInt8[np.ndarray, "f h w *c"], size: CanvasSize) -> UInt8[np.ndarray, "f out_h out_w *c"]:
    """The images at `size`, 0..255: averaged over areas where they shrink, bilinear where they grow."""
    height, width = height_width(size)
    if images.shape[1:3] == (height, width):
        return images
    shrinks = height <= images.shape[1] and width <= images.shape[2]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.stack([cv2.resize(image, (width, height), interpolation=interpolation) for image in images])
