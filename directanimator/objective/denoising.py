"""Denoising with v-prediction on CogVideoX's noise schedule: one function per relation.

a = alpha_bar(t), the share of signal that is left at timestep t; noisy = sqrt(a) x + sqrt(1 - a) eps;
v = sqrt(a) eps - sqrt(1 - a) x. At the last timestep a is exactly 0 and v = -x.
"""

from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler
from diffusers.schedulers.scheduling_dpm_cogvideox import CogVideoXDPMScheduler
from jaxtyping import Float, Int
from torch import Tensor

from directanimator.objective.spec import SamplingSpec

Scheduler = CogVideoXDDIMScheduler | CogVideoXDPMScheduler


def make_scheduler(spec: SamplingSpec) -> Scheduler:
    """CogVideoX's scheduler: v-prediction, zero terminal signal, trailing timesteps."""
    kind = CogVideoXDDIMScheduler if spec.scheduler == "ddim" else CogVideoXDPMScheduler
    return kind(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=spec.snr_shift_scale,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
        clip_sample=False,
    )


def signal_and_noise_rates(
    alphas_cumprod: Float[Tensor, " t"], timestep: Int[Tensor, " b"], ndim: int
) -> tuple[Float[Tensor, "b *ones"], Float[Tensor, "b *ones"]]:
    """sqrt(a) and sqrt(1 - a) in fp32, ready to broadcast over tensors of `ndim` axes.

    The square roots are taken in fp64, since close to a = 0 and a = 1 fp32 loses the small one."""
    a = alphas_cumprod.double().to(timestep.device)[timestep].view(-1, *[1] * (ndim - 1))
    return a.sqrt().float(), (1 - a).sqrt().float()


def add_noise(
    latents: Float[Tensor, "b *s"], noise: Float[Tensor, "b *s"], rates: tuple[Tensor, Tensor]
) -> Float[Tensor, "b *s"]:
    """Noisy latents sqrt(a) x + sqrt(1 - a) eps."""
    return rates[0] * latents + rates[1] * noise


def velocity_target(
    latents: Float[Tensor, "b *s"], noise: Float[Tensor, "b *s"], rates: tuple[Tensor, Tensor]
) -> Float[Tensor, "b *s"]:
    """v = sqrt(a) eps - sqrt(1 - a) x."""
    return rates[0] * noise - rates[1] * latents


def latents_from_velocity(
    noisy: Float[Tensor, "b *s"], velocity: Float[Tensor, "b *s"], rates: tuple[Tensor, Tensor]
) -> Float[Tensor, "b *s"]:
    """x = sqrt(a) noisy - sqrt(1 - a) v."""
    return rates[0] * noisy - rates[1] * velocity


def noise_from_velocity(
    noisy: Float[Tensor, "b *s"], velocity: Float[Tensor, "b *s"], rates: tuple[Tensor, Tensor]
) -> Float[Tensor, "b *s"]:
    """eps = sqrt(1 - a) noisy + sqrt(a) v."""
    return rates[1] * noisy + rates[0] * velocity


def person_weights(coverage: Float[Tensor, "b lf 1 lh lw"], person_weight: float) -> Float[Tensor, "b lf 1 lh lw"]:
    """How much each latent cell counts: `person_weight` times as much where covered (1) than where not (0); mean 1 per
    clip.

    Deviation: ours; with person_weight=1 all cells count alike, as in CogVideoX."""
    raw = 1 + (person_weight - 1) * coverage
    return raw / raw.flatten(1).mean(dim=1).view(-1, 1, 1, 1, 1)


def denoising_loss(
    predicted: Float[Tensor, "b lf c lh lw"],
    target: Float[Tensor, "b lf c lh lw"],
    weights: Float[Tensor, "b lf 1 lh lw"],
) -> Float[Tensor, ""]:
    """Mean squared error of the velocity, weighted by cell.

    Source: CogVideoX's training, which weighs the error of x by 1 / (1 - a); that is this very number, without the
    division that fails where a = 1. The paper does not state its loss. Deviation: none known."""
    return ((predicted.float() - target).square() * weights).mean()
