"""What is denoised, on which noise schedule, and how videos are sampled from it. Imports nothing heavy."""

import math
from typing import Annotated, Literal

from pydantic import Field

from directanimator.frozen import FrozenSpec

NUM_TIMESTEPS = 1000
"""Of both objectives; the last is noise alone."""
V_SCHEDULERS = ("ddim", "dpm")
"""Samplers of v-prediction, which CogVideoX is trained with."""
FLOW_SCHEDULERS = ("euler", "unipc")
"""Samplers of flow matching, which Wan is trained with; UniPC is the published one."""


def ends_without_noise(num_steps: int) -> bool:
    """Whether a sampler of v-prediction ends at the clip itself after so many steps, and with the last of them.

    Steps are rounded parts of the schedule, and the last one is rounded down: where these differ, noise is left. Where
    the parts do not add up to the whole in floating point, diffusers' schedulers append a step beyond the clip."""
    adds_up = math.ceil(NUM_TIMESTEPS / (NUM_TIMESTEPS / num_steps)) == num_steps
    return adds_up and 2 * (NUM_TIMESTEPS % num_steps) <= num_steps


class DenoisingSpec(FrozenSpec):
    """Where the denoising loss looks. Deviation: both at 1 are the plain loss; a short training has no steps to spend
    on a background that the reference shows, or on noise so weak that the clip itself tells the motion."""

    person_weight: Annotated[float, Field(ge=1, le=100)] = 4.0
    """How much more a latent cell counts that the person covers."""
    noise_bias: Annotated[float, Field(ge=1, le=10)] = 4.0
    """The share of noisier timesteps: t = T u ** (1 / bias) for uniform u."""


class SamplingSpec(FrozenSpec):
    """The sampler and its guidance."""

    scheduler: Literal["ddim", "dpm", "euler", "unipc"] = "ddim"
    """ddim, dpm: of CogVideoX. euler, unipc: of Wan."""
    num_steps: Annotated[int, Field(ge=1, le=1000)] = 1
    """1 asks for the mean of all answers: blurred, but what a model can give after minutes of training. More steps ask
    for one answer in detail, which takes longer to learn."""
    guidance_scale: Annotated[float, Field(ge=1, le=30)] = 1.0
    """1 is off."""
    guidance_over: Literal["text", "cues"] = "cues"
    """What the null branch leaves out. At full scale text (cues stay in both); the embedded model has no text."""
    snr_shift_scale: Annotated[float, Field(gt=0, le=16)] = 3.0
    """How far the noise schedule is shifted towards noise: CogVideoX's snr_shift_scale, Wan's flow_shift."""
