"""Denoising by flow matching, as Wan is trained: one function per relation.

s = sigma(t), the share of noise at timestep t; noisy = (1 - s) x + s eps: a straight line from the latents to the
noise, whose velocity u = eps - x is the same all along it. At the last timestep s is exactly 1."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from directanimator.objective.spec import NUM_TIMESTEPS


def flow_sigmas(shift: float) -> Float[Tensor, " t"]:
    """Shares of noise by timestep, rising to 1: s = shift u / (1 + (shift - 1) u) for u = 1/1000, 2/1000 .. 1.

    Times are denser where there is more noise, the more so the larger the shift.
    Source: Stable Diffusion 3 (arXiv 2403.03206), equation 23, and diffusers' FlowMatchEulerDiscreteScheduler."""
    u = torch.arange(1, NUM_TIMESTEPS + 1, dtype=torch.float64) / NUM_TIMESTEPS
    return (shift * u / (1 + (shift - 1) * u)).float()


def flow_rates(
    sigmas: Float[Tensor, " t"], timestep: Int[Tensor, " b"], ndim: int
) -> tuple[Float[Tensor, "b *ones"], Float[Tensor, "b *ones"]]:
    """1 - s and s, ready to broadcast over tensors of `ndim` axes."""
    s = sigmas.to(timestep.device)[timestep].view(-1, *[1] * (ndim - 1))
    return 1 - s, s


def flow_target(latents: Float[Tensor, "b *s"], noise: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
    """u = eps - x.

    Source: Wan (arXiv 2503.20314), equation of its velocity, with time counted from the latents to the noise."""
    return noise - latents


def latents_from_flow(
    noisy: Float[Tensor, "b *s"], flow: Float[Tensor, "b *s"], rates: tuple[Tensor, Tensor]
) -> Float[Tensor, "b *s"]:
    """x = noisy - s u."""
    return noisy - rates[1] * flow


def noise_from_flow(
    noisy: Float[Tensor, "b *s"], flow: Float[Tensor, "b *s"], rates: tuple[Tensor, Tensor]
) -> Float[Tensor, "b *s"]:
    """eps = noisy + (1 - s) u."""
    return noisy + rates[0] * flow


def told_timestep(sigmas: Float[Tensor, " t"], timestep: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """What the model is told of a timestep: 1000 s.

    Source: Wan's pipeline in diffusers, whose schedulers tell sigma times the number of timesteps."""
    return NUM_TIMESTEPS * sigmas.to(timestep.device)[timestep]
