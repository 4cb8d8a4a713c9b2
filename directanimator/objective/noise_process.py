"""How latents become noise and what undoes it, whichever backbone is trained: the one seam between the two objectives.

CogVideoX: v-prediction, `denoising`. Wan: flow matching, `flow`. Training asks a process, sampling its schedulers."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from jaxtyping import Float, Int, Real
from torch import Tensor

from directanimator.objective.denoising import Scheduler, make_scheduler, signal_and_noise_rates, velocity_target
from directanimator.objective.flow import flow_rates, flow_sigmas, flow_target, told_timestep
from directanimator.objective.spec import FLOW_SCHEDULERS, SamplingSpec

AnyScheduler = Scheduler | FlowMatchEulerDiscreteScheduler | UniPCMultistepScheduler


@runtime_checkable
class NoiseProcess(Protocol):
    """What training needs to know of noise; timesteps count from 0, the least noise, to 999, noise alone."""

    def rates(
        self, timestep: Int[Tensor, " b"], ndim: int
    ) -> tuple[Float[Tensor, "b *ones"], Float[Tensor, "b *ones"]]:
        """Shares of latents and of noise in noisy latents, ready to broadcast over tensors of `ndim` axes."""
        ...

    def target(
        self, latents: Float[Tensor, "b *s"], noise: Float[Tensor, "b *s"], rates: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "b *s"]:
        """What the model is to predict."""
        ...

    def told(self, timestep: Int[Tensor, " b"]) -> Real[Tensor, " b"]:
        """The timestep in the model's own count."""
        ...


@dataclass(frozen=True, eq=False)
class VPrediction:
    """CogVideoX's."""

    alphas_cumprod: Float[Tensor, " t"]

    def rates(
        self, timestep: Int[Tensor, " b"], ndim: int
    ) -> tuple[Float[Tensor, "b *ones"], Float[Tensor, "b *ones"]]:
        """sqrt(a) and sqrt(1 - a)."""
        return signal_and_noise_rates(self.alphas_cumprod, timestep, ndim)

    def target(
        self, latents: Float[Tensor, "b *s"], noise: Float[Tensor, "b *s"], rates: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "b *s"]:
        """v."""
        return velocity_target(latents, noise, rates)

    def told(self, timestep: Int[Tensor, " b"]) -> Real[Tensor, " b"]:
        """The timestep itself."""
        return timestep


@dataclass(frozen=True, eq=False)
class FlowMatching:
    """Wan's."""

    sigmas: Float[Tensor, " t"]

    def rates(
        self, timestep: Int[Tensor, " b"], ndim: int
    ) -> tuple[Float[Tensor, "b *ones"], Float[Tensor, "b *ones"]]:
        """1 - s and s."""
        return flow_rates(self.sigmas, timestep, ndim)

    def target(
        self, latents: Float[Tensor, "b *s"], noise: Float[Tensor, "b *s"], rates: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "b *s"]:
        """u, which is the same at all rates."""
        return flow_target(latents, noise)

    def told(self, timestep: Int[Tensor, " b"]) -> Real[Tensor, " b"]:
        """1000 s."""
        return told_timestep(self.sigmas, timestep)


def make_process(spec: SamplingSpec) -> NoiseProcess:
    """The process whose samples the spec's scheduler draws, with the spec's shift."""
    if spec.scheduler in FLOW_SCHEDULERS:
        return FlowMatching(flow_sigmas(spec.snr_shift_scale))
    return VPrediction(make_scheduler(spec).alphas_cumprod)


def published_settings(spec: SamplingSpec) -> dict[str, object]:
    """What a published model's scheduler must be set to, where it says so, for its weights to fit the process."""
    shift = spec.snr_shift_scale
    if spec.scheduler in FLOW_SCHEDULERS:
        flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "use_dynamic_shifting": False}
        return {"flow_shift": shift, "shift": shift, **flow}
    return {
        "snr_shift_scale": shift,
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "beta_schedule": "scaled_linear",
    }


def make_sampler(spec: SamplingSpec) -> AnyScheduler:
    """The spec's scheduler, ready for its number of steps, the first of which is told noise alone."""
    match spec.scheduler:
        case "ddim" | "dpm":
            diffusion = make_scheduler(spec)
            diffusion.set_timesteps(spec.num_steps)
            return diffusion
        case "euler":
            euler = FlowMatchEulerDiscreteScheduler(shift=spec.snr_shift_scale)
            # Evenly from 1, as Wan's own code does; left to itself, diffusers shifts the last sigma twice.
            euler.set_timesteps(sigmas=np.linspace(1, 0, spec.num_steps + 1)[:-1].tolist())
            return euler
        case "unipc":
            unipc = UniPCMultistepScheduler(
                prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=spec.snr_shift_scale
            )
            unipc.set_timesteps(spec.num_steps)
            return unipc
