"""Low-pass filters in the frequency domain: what is left of a body once clothes and hair are gone."""

import functools
import math

import cv2
import numpy as np
import scipy.fft
from jaxtyping import Float, Float64

from directanimator.cues.spec import FilterShape

BUTTERWORTH_ORDER = 2
BORDER_SPREADS = 4
"""Width of the mirrored border, in standard deviations of a Gaussian low-pass's spread."""
_SMALL = 256
"""Sides up to this keep the transform that all committed numbers were made with, and its rounding: they gain nothing
by a faster one."""


def frequency_response(size_h: int, size_w: int, cutoff: float, shape: FilterShape) -> Float64[np.ndarray, "h w"]:
    """Gain in [0, 1] of every frequency in FFT order; 1 at frequency zero.

    `cutoff` is in cycles per image (per shorter side, if the image is not square), so a person is filtered the same
    at any resolution. Radial in pixels: no direction is preferred.
    Source: Beyond Skeletons, Driving Cue Triplet; the shape of the response is not stated there."""
    radius = _radius(size_h, size_w)
    match shape:
        case "gaussian":
            return np.exp(-(radius**2) / (2 * cutoff**2))
        case "ideal":
            return (radius <= cutoff + 1e-9).astype(np.float64)
        case "butterworth":
            return 1 / (1 + (radius / cutoff) ** (2 * BUTTERWORTH_ORDER))


def low_pass(images: Float[np.ndarray, "f h w"], cutoff: float, shape: FilterShape) -> Float[np.ndarray, "f h w"]:
    """The images without their fine detail, in the units and the precision of the input.

    Linear, keeps each image's mean, and commutes with circular translation. The image is taken as periodic: what
    touches one border bleeds over the opposite one, by a width of about size / (2 pi cutoff); see `low_pass_in_frame`.
    Source: Beyond Skeletons, Driving Cue Triplet."""
    _, height, width = images.shape
    if max(height, width) <= _SMALL:
        response = _half_response(height, width, cutoff, shape, "float64")
        return np.fft.irfft2(np.fft.rfft2(images) * response, s=(height, width)).astype(images.dtype)
    spectrum = scipy.fft.rfft2(images)
    spectrum *= _half_response(height, width, cutoff, shape, images.dtype.name)
    return scipy.fft.irfft2(spectrum, s=(height, width), overwrite_x=True)


def low_pass_in_frame(
    images: Float[np.ndarray, "f h w"], cutoff: float, shape: FilterShape
) -> Float[np.ndarray, "f h w"]:
    """The images without their fine detail, as by `low_pass`, but mirrored at their borders instead of periodic.

    So nothing bleeds over to the other side.

    Deviation: ours; the paper does not state how borders are treated, and a person is often cut by one."""
    _, height, width = images.shape
    shorter = min(height, width)
    border = min(math.ceil(BORDER_SPREADS * shorter / (2 * math.pi * cutoff)), shorter)
    framed = _mirrored(images, border, _fast(height + 2 * border), _fast(width + 2 * border))
    # In pixels the filter must stay what it is: cycles per framed image grow with its shorter side.
    filtered = low_pass(framed, cutoff * min(framed.shape[1:]) / shorter, shape)
    return filtered[:, border : border + height, border : border + width]


@functools.lru_cache(maxsize=16)
def _half_response(
    size_h: int, size_w: int, cutoff: float, shape: FilterShape, precision: str
) -> Float[np.ndarray, "h half_w"]:
    """The response over the frequencies of a real transform; kept, since a clip asks for it frame by frame."""
    return np.array(frequency_response(size_h, size_w, cutoff, shape)[:, : size_w // 2 + 1], precision)


def _fast(length: int) -> int:
    """The next length that a transform is quick at: a large prime factor makes it several times slower."""
    return length if length <= _SMALL else int(scipy.fft.next_fast_len(length, real=True))


def _mirrored(
    images: Float[np.ndarray, "f h w"], border: int, out_h: int, out_w: int
) -> Float[np.ndarray, "f out_h out_w"]:
    """The images mirrored beyond each side by `border` pixels, below and on the right by what `out` asks for more."""
    num_frames, height, width = images.shape
    below, right = out_h - height - border, out_w - width - border
    framed = np.empty((num_frames, out_h, out_w), images.dtype)
    for image, target in zip(images, framed, strict=True):
        target[:] = cv2.copyMakeBorder(image, border, below, border, right, cv2.BORDER_REFLECT_101)
    return framed


def _radius(size_h: int, size_w: int) -> Float64[np.ndarray, "h w"]:
    shorter = min(size_h, size_w)
    down, across = np.fft.fftfreq(size_h) * shorter, np.fft.fftfreq(size_w) * shorter
    return np.asarray(np.hypot(down[:, None], across[None, :]))
