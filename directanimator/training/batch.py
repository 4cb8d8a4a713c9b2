"""A batch of the denoising objective, every random draw of it a function of (seed, sample number) alone.

So a resumed training, and one over another number of processes, sees the same data, noise and timesteps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Real
from torch import Tensor, nn

from directanimator.model.backbone import CueFusionOutput
from directanimator.model.cue_streams import CueLatents
from directanimator.objective.denoising import add_noise, denoising_loss
from directanimator.objective.noise_process import NoiseProcess
from directanimator.objective.spec import NUM_TIMESTEPS
from directanimator.training.loop import Losses


class Draw(NamedTuple):
    """The random numbers of one sample."""

    rng: np.random.Generator
    """For choices: which item, which reference, drop the cues or not."""
    noise_seed: int


def draw_for(seed: int, stage: int, sample: int) -> Draw:
    """The draw of sample number `sample` of a stage."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, stage, sample]))
    return Draw(rng, int(rng.integers(2**62)))


def samples_of(step: int, global_batch_size: int, rank: int, world: int) -> range:
    """Numbers of the samples that process `rank` of `world` takes in step `step`; together they are the global batch.

    Raises: ValueError unless the batch divides evenly."""
    if global_batch_size % world:
        raise ValueError(f"global batch {global_batch_size} does not divide over {world} processes")
    device = global_batch_size // world
    start = step * global_batch_size + rank * device
    return range(start, start + device)


def noisy_timestep(draw: Draw, noise_bias: float) -> int:
    """A timestep of 0 to 999, the noisier the likelier: of density t^(noise_bias - 1), so that 1 is uniform."""
    return min(int(NUM_TIMESTEPS * draw.rng.random() ** (1 / noise_bias)), NUM_TIMESTEPS - 1)


def gaussian_noise(draws: Sequence[Draw], shape: tuple[int, ...]) -> Float[Tensor, "b *s"]:
    """Standard normal noise, one generator per sample."""
    made = [torch.randn(shape, generator=torch.Generator().manual_seed(draw.noise_seed)) for draw in draws]
    return torch.stack(made)


@dataclass(frozen=True)
class DenoisingBatch:
    """Clean latents, what they are noised with, and what the model is told."""

    latents: Float[Tensor, "b lf c lh lw"]
    reference_latents: Float[Tensor, "b lf c lh lw"]
    """The reference on every latent frame. Deviation: CogVideoX puts its image on the first frame alone, which it then
    reproduces; here the reference shows another pose than any frame of the clip."""
    text: Float[Tensor, "b m t"]
    noise: Float[Tensor, "b lf c lh lw"]
    timestep: Int[Tensor, " b"]
    weights: Float[Tensor, "b lf 1 lh lw"]
    """How much each latent cell counts; mean 1 per clip."""
    cues: CueLatents | None
    teacher_cues: CueLatents | None = None
    """What the frozen same-ID teacher is told: the target's own cues."""

    def to(self, device: torch.device) -> "DenoisingBatch":
        """The batch on another device."""
        return self._mapped(lambda tensor: tensor.to(device))

    def parts(self, size: int) -> list["DenoisingBatch"]:
        """The batch in parts of `size` clips, in order.

        Raises: ValueError unless it divides evenly."""
        count = len(self.latents)
        if count % size:
            raise ValueError(f"a batch of {count} clips does not divide into parts of {size}")
        return [self._mapped(lambda t, s=start: t[s : s + size]) for start in range(0, count, size)]  # type: ignore[misc]

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "DenoisingBatch":
        changed: dict[str, Tensor | CueLatents | None] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, CueLatents):
                value = CueLatents(**{inner.name: change(getattr(value, inner.name)) for inner in fields(value)})
            elif isinstance(value, Tensor):
                value = change(value)
            changed[field.name] = value
        return replace(self, **changed)  # type: ignore[arg-type]  # by name, each of its own kind


class NoisedBatch(NamedTuple):
    """A batch after noising: the model's input and its target."""

    noisy_latents: Float[Tensor, "b lf c lh lw"]
    velocity: Float[Tensor, "b lf c lh lw"]
    timestep: Real[Tensor, " b"]
    """As the model is told it."""


def noised(batch: DenoisingBatch, process: NoiseProcess) -> NoisedBatch:
    """Noisy latents, the velocity that undoes the noise, and their timestep."""
    rates = process.rates(batch.timestep, batch.latents.ndim)
    return NoisedBatch(
        add_noise(batch.latents, batch.noise, rates),
        process.target(batch.latents, batch.noise, rates),
        process.told(batch.timestep),
    )


def denoising_objective(process: NoiseProcess) -> Callable[[nn.Module, DenoisingBatch], Losses]:
    """The objective of pretraining and of the same-ID stage: L_denoise."""

    def objective(model: nn.Module, batch: DenoisingBatch) -> Losses:
        pair = noised(batch, process)
        output: CueFusionOutput = model(
            pair.noisy_latents, batch.reference_latents, batch.text, pair.timestep, batch.cues
        )
        return {"loss": denoising_loss(output.velocity, pair.velocity, batch.weights)}

    return objective
