"""Low-pass filters in the frequency domain: what is left of a body once clothes and hair are gone."""

import math

import numpy as np
from jaxtyping import Float, Float64

from directanimator.cues.spec import FilterShape

BUTTERWORTH_ORDER = 2
BORDER_SPREADS = 4
"""Width of the mirrored border, in standard deviations of a Gaussian low-pass's spread."""


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
    response = frequency_response(height, width, cutoff, shape)[:, : width // 2 + 1]
    filtered = np.fft.irfft2(np.fft.rfft2(images) * response, s=(height, width))
    return filtered.astype(images.dtype)


def low_pass_in_frame(
    images: Float[np.ndarray, "f h w"], cutoff: float, shape: FilterShape
) -> Float[np.ndarray, "f h w"]:
    """The images without their fine detail, as by `low_pass`, but mirrored at their borders instead of periodic.

    So nothing bleeds over to the other side.

    Deviation: ours; the paper does not state how borders are treated, and a person is often cut by one."""
    shorter = min(images.shape[1:])
    border = min(math.ceil(BORDER_SPREADS * shorter / (2 * math.pi * cutoff)), shorter)
    framed = np.pad(images, ((0, 0), (border, border), (border, border)), mode="reflect")
    filtered = low_pass(framed, cutoff * (shorter + 2 * border) / shorter, shape)
    return filtered[:, border:-border, border:-border]


def _radius(size_h: int, size_w: int) -> Float64[np.ndarray, "h w"]:
    shorter = min(size_h, size_w)
    down, across = np.fft.fftfreq(size_h) * shorter, np.fft.fftfreq(size_w) * shorter
    return np.asarray(np.hypot(down[:, None], across[None, :]))
