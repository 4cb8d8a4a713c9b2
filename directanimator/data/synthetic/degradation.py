"""Drivers as an imperfect generator would make them: the price of cross-ID pairs that nobody filmed."""

import dataclasses

import cv2
import numpy as np
from jaxtyping import UInt8

from directanimator.data.synthetic import raster
from directanimator.data.synthetic.identity import Identity
from directanimator.data.synthetic.motion import Motion
from directanimator.data.synthetic.timeline import GRID, GRID_HZ
from directanimator.errors import UserError

JITTER = 0.22
"""Length of the error of a limb's unit direction, at strength 1."""
LAG = 0.16
"""Seconds that the driver is late, at strength 1."""
EXPRESSION_ERROR = 0.6
"""Share of the expression that is another one, at strength 1."""
LEAKAGE = 0.6
"""Share of the driver's colors that are the reference's, at strength 1."""
BLUR = 0.006
"""Standard deviation in frame sides, at strength 1."""
BEST_QUALITY, WORST_QUALITY = 95, 15
"""JPEG quality at strength 0 and 1."""
_JITTER_HZ = 5.0


def check_strength(strength: float) -> None:
    """Nothing, when the strength lies in [0, 1].

    Raises: UserError otherwise."""
    if not 0 <= strength <= 1:
        raise UserError(f"cue_strength={strength}: legal are 0 to 1")


def _smooth_noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """(len(GRID), *shape) noise of unit deviation whose values a fifth of a second apart are independent."""
    knots = rng.normal(size=(int(GRID[-1] * _JITTER_HZ) + 2, *shape))
    position = GRID * _JITTER_HZ
    start = position.astype(np.int64)
    share = (position - start).reshape(-1, *(1,) * len(shape))
    return np.asarray(knots[start] * (1 - share) + knots[start + 1] * share)


def _late(values: np.ndarray, steps: int) -> np.ndarray:
    return values[np.maximum(np.arange(len(values)) - steps, 0)]


def degraded_motion(motion: Motion, strength: float, rng: np.random.Generator) -> Motion:
    """The motion with trembling limbs, late by up to LAG, and with expressions that are partly others.

    At strength 0 it is the motion itself.
    Raises: UserError for a strength outside [0, 1]."""
    check_strength(strength)
    steps = round(LAG * strength * GRID_HZ)
    fields = {field.name: getattr(motion.track, field.name) for field in dataclasses.fields(motion.track)}
    late = {name: _late(values, steps) for name, values in fields.items()}
    trembling = late["directions"] + strength * JITTER / np.sqrt(3) * _smooth_noise(rng, *late["directions"].shape[1:])
    late["directions"] = trembling / np.linalg.norm(trembling, axis=-1, keepdims=True)
    other = np.clip(0.3 + 0.4 * _smooth_noise(rng, late["expression"].shape[1]), 0, 1)
    share = EXPRESSION_ERROR * strength
    late["expression"] = (1 - share) * late["expression"] + share * other
    return dataclasses.replace(motion, track=dataclasses.replace(motion.track, **late))


def leaked_identity(driver: Identity, reference: Identity, strength: float) -> Identity:
    """The driver with colors of skin, hair, face and clothes on the way to the reference's; shape and cut stay.

    Raises: UserError for a strength outside [0, 1]."""
    check_strength(strength)
    share = np.float32(LEAKAGE * strength)
    look, textiles = driver.look.copy(), driver.textiles.copy()
    rows = [raster.LOOK_SKIN, raster.LOOK_HAIR, raster.LOOK_LIPS, raster.LOOK_BROW, raster.LOOK_SHOE, raster.LOOK_IRIS]
    look[rows, :3] += share * (reference.look[rows, :3] - look[rows, :3])
    textiles[:, 2:] += share * (reference.textiles[:, 2:] - textiles[:, 2:])
    return dataclasses.replace(driver, look=look, textiles=textiles)


def degraded_frames(frames: UInt8[np.ndarray, "f s s 3"], strength: float) -> UInt8[np.ndarray, "f s s 3"]:
    """The frames blurred and JPEG-compressed; at strength 0 as they are.

    Raises: UserError for a strength outside [0, 1]."""
    check_strength(strength)
    if strength == 0:
        return frames
    sigma = max(BLUR * strength * frames.shape[1], 1e-3)
    quality = round(BEST_QUALITY + strength * (WORST_QUALITY - BEST_QUALITY))
    blurred = [cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames]
    codes = [cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for frame in blurred]
    decoded = [np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))[..., ::-1] for code in codes]
    return np.ascontiguousarray(np.stack(decoded), np.uint8)
