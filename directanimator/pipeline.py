"""From a reference image and driving cues to a video: the sampler, and guidance over text or cues."""

from collections.abc import Callable
from dataclasses import fields

import torch
from diffusers.schedulers.scheduling_dpm_cogvideox import CogVideoXDPMScheduler
from jaxtyping import Float, Real
from torch import Tensor

from directanimator.model.backbone import CueBackbone
from directanimator.model.codec import VideoCodec
from directanimator.model.cue_streams import CueLatents
from directanimator.objective.noise_process import make_sampler
from directanimator.objective.spec import SamplingSpec

Denoiser = Callable[[Float[Tensor, "b lf c lh lw"], Real[Tensor, " b"]], Float[Tensor, "b lf c lh lw"]]
"""Velocity of noisy latents at a timestep."""


def guided(
    model: CueBackbone,
    reference_latents: Float[Tensor, "b lf c lh lw"],
    text: Float[Tensor, "b m t"],
    cues: CueLatents | None,
    spec: SamplingSpec,
    empty_text: Float[Tensor, "1 m t"] | None = None,
) -> Denoiser:
    """The model as a denoiser, with classifier-free guidance over text or over cues; scale 1 runs one branch only.

    Over text, the null branch is told `empty_text` (zeros by default) and the same cues, and both run in one pass.
    Deviation: guidance over cues is ours; the paper does not state what its null branch leaves out."""
    without = torch.zeros_like(text[:1]) if empty_text is None else empty_text
    texts = torch.cat([without.expand_as(text), text])
    told_twice = None if cues is None else CueLatents(**{f.name: _twice(getattr(cues, f.name)) for f in fields(cues)})

    def both(noisy: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """The null branch and the told one, in one pass."""
        pair = model(_twice(noisy), _twice(reference_latents), texts, _twice(timestep), told_twice)
        null, told = pair.velocity.float().chunk(2)
        return null, told

    def denoise(noisy: Tensor, timestep: Tensor) -> Tensor:
        if spec.guidance_scale == 1:
            return model(noisy, reference_latents, text, timestep, cues).velocity.float()
        if spec.guidance_over == "text":
            null, told = both(noisy, timestep)
            return null + spec.guidance_scale * (told - null)
        told = model(noisy, reference_latents, text, timestep, cues).velocity.float()
        null = model(noisy, reference_latents, text, timestep, None).velocity.float()
        return null + spec.guidance_scale * (told - null)

    return denoise


def _twice(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, tensor])


@torch.no_grad()
def sample(
    denoise: Denoiser, noise: Float[Tensor, "b lf c lh lw"], spec: SamplingSpec
) -> Float[Tensor, "b lf c lh lw"]:
    """Latents sampled from noise by the spec's scheduler; what noise a step adds of its own has a fixed seed, the same
    for every clip, so that none depends on those that are sampled beside it."""
    scheduler = make_sampler(spec)
    latents, previous, earlier = noise, None, None
    generators = [torch.Generator().manual_seed(0) for _ in noise]
    for timestep in scheduler.timesteps:
        velocity = denoise(latents, timestep.expand(len(latents)).to(latents.device))
        if isinstance(scheduler, CogVideoXDPMScheduler):
            latents, previous = scheduler.step(
                velocity, previous, timestep, earlier, latents, generator=generators, return_dict=False
            )
            earlier = timestep
        else:
            stepped = scheduler.step(velocity, timestep, latents, return_dict=False)  # type: ignore[call-arg, arg-type]
            latents = stepped[0]
        latents = latents.float()
    return latents


@torch.no_grad()
def generate(
    model: CueBackbone,
    codec: VideoCodec,
    reference_latents: Float[Tensor, "b 1 c lh lw"],
    text: Float[Tensor, "b m t"],
    cues: CueLatents,
    noise: Float[Tensor, "b nf c lh lw"],
    spec: SamplingSpec,
    empty_text: Float[Tensor, "1 m t"] | None = None,
) -> Float[Tensor, "b f 3 h w"]:
    """Video in [-1, 1] of the reference's person, driven by the cues.

    Noise of more latent frames than the cues have is for those that fill a temporal patch: sampled, and left out."""
    here, extra = model.device, noise.shape[1] - cues.pose.shape[1]
    told = CueLatents(**{field.name: getattr(cues.padded(extra), field.name).to(here) for field in fields(cues)})
    empty = None if empty_text is None else empty_text.to(here)
    references = reference_latents.to(here).expand_as(noise)
    denoise = guided(model, references, text.to(here), told, spec, empty)
    return codec.decode(sample(denoise, noise.to(here), spec)[:, extra:].cpu()).cpu()
