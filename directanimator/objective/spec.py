"""The noise schedule and how videos are sampled from it. Imports nothing heavy."""

from typing import Annotated, Literal

from pydantic import Field

from directanimator.frozen import FrozenSpec


class SamplingSpec(FrozenSpec):
    """The sampler and its guidance."""

    scheduler: Literal["ddim", "dpm"] = "ddim"
    num_steps: Annotated[int, Field(ge=1, le=1000)] = 4
    guidance_scale: Annotated[float, Field(ge=1, le=30)] = 1.0
    """1 is off."""
    guidance_over: Literal["text", "cues"] = "cues"
    """What the null branch leaves out. At full scale text (cues stay in both); the embedded model has no text."""
    snr_shift_scale: Annotated[float, Field(gt=0, le=16)] = 3.0
    """CogVideoX's noise schedule shift."""
