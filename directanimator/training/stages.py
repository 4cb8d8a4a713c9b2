"""The two stages of Same2X: same-ID training, then cross-ID training aligned to the frozen same-ID model.

Batches are functions of (seed, stage, sample number); objectives are functions of (model, batch)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from directanimator.cues.spec import CueSpec
from directanimator.data.pool import Rows
from directanimator.model.backbone import CueBackbone, CueFusionOutput
from directanimator.model.cue_streams import CueLatents, pad_front
from directanimator.model.spec import ModelSpec
from directanimator.objective.denoising import denoising_loss, person_weights
from directanimator.objective.noise_process import NoiseProcess
from directanimator.objective.same2x import s2x_loss
from directanimator.objective.spec import DenoisingSpec
from directanimator.training.batch import (
    DenoisingBatch,
    Draw,
    denoising_objective,
    draw_for,
    gaussian_noise,
    noised,
    noisy_timestep,
    samples_of,
)
from directanimator.training.loop import Losses
from directanimator.training.prepared import CueArrays, cue_arrays, cue_latents, null_arrays, without_disabled
from directanimator.training.spec import OptimSpec, Same2XSpec

SAME_ID, CROSS_ID, HELD_OUT = 1, 2, 3
"""Codes of the stages in the seeds of their random draws, and of the held-out loss in its own."""
HELD_OUT_TIMESTEPS = (249, 499, 749, 999)
"""Where the held-out loss looks: quarters of the schedule, the last of which is noise alone."""

Objective = Callable[[nn.Module, DenoisingBatch], Losses]


@dataclass(frozen=True, eq=False)
class BatchSource:
    """Everything that batches are made of, beside the step's number."""

    pool: Mapping[str, Rows]
    cues: CueSpec
    optim: OptimSpec
    denoising: DenoisingSpec
    seed: int
    stage: int
    same_id_share: float
    """Share of samples that are driven by their own clip; 1 in the same-ID stage."""
    empty_text: Float[Tensor, "1 m t"]
    """The text tokens of an empty caption."""
    latent_frames: int
    """That the model denoises: those of a clip, and before them the first one repeated to fill a temporal patch."""
    rank: int = 0
    world: int = 1

    def batch_at(self, step: int) -> DenoisingBatch:
        """This process's share of the global batch of a step."""
        numbers = samples_of(step, self.optim.global_batch_size, self.rank, self.world)
        draws = [draw_for(self.seed, self.stage, number) for number in numbers]
        items = [int(draw.rng.integers(len(self.pool["latents"]))) for draw in draws]
        told = [self._cues_told(item, draw) for item, draw in zip(items, draws, strict=True)]
        timesteps = [noisy_timestep(draw, self.denoising.noise_bias) for draw in draws]
        return self._batch(items, told, draws, timesteps, self._text_told(items, draws))

    def held_out_batches(self) -> Iterator[DenoisingBatch]:
        """Every item of the pool at each held-out timestep, driven as the stage's new pairs are. Nothing is drawn but
        noise, and that by item and timestep alone: the same for every training."""
        items = range(len(self.pool["latents"]))
        setting = "own" if self.same_id_share == 1 else "cross"
        told = [without_disabled(cue_arrays(self.pool, item, setting), self.cues) for item in items]
        for timestep in HELD_OUT_TIMESTEPS:
            draws = [draw_for(timestep, HELD_OUT, item) for item in items]
            yield self._batch(list(items), told, draws, [timestep] * len(items), self._captions(list(items)))

    def _batch(
        self,
        items: list[int],
        told: list[CueArrays],
        draws: Sequence[Draw],
        timesteps: list[int],
        text: Float[Tensor, "b m t"],
    ) -> DenoisingBatch:
        latents = self._filled(torch.from_numpy(self.pool["latents"][items]).float())
        return DenoisingBatch(
            latents=latents,
            reference_latents=torch.from_numpy(self.pool["reference"][items]).float().expand_as(latents),
            text=text,
            noise=gaussian_noise(draws, tuple(latents.shape[1:])),
            timestep=torch.tensor(timesteps),
            weights=person_weights(self._filled(self._coverage(items)), self.denoising.person_weight),
            cues=self._filled_cues(told),
            teacher_cues=self._filled_cues([self._own_cues(i) for i in items]) if self.stage == CROSS_ID else None,
        )

    def _filled(self, frames: Float[Tensor, "b lf *rest"]) -> Float[Tensor, "b nf *rest"]:
        return pad_front(frames, self.latent_frames - frames.shape[1])

    def _filled_cues(self, told: list[CueArrays]) -> CueLatents:
        cues = cue_latents(told)
        return cues.padded(self.latent_frames - cues.pose.shape[1])

    def _captions(self, items: list[int]) -> Float[Tensor, "b m t"]:
        if "text" not in self.pool:
            return self.empty_text.expand(len(items), -1, -1)
        return torch.from_numpy(self.pool["text"][items]).float()

    def _text_told(self, items: list[int], draws: Sequence[Draw]) -> Float[Tensor, "b m t"]:
        """The items' captions, some of them dropped; without any in the pool, no random number is drawn."""
        told = self._captions(items)
        if "text" not in self.pool:
            return told
        without = torch.tensor([draw.rng.random() < self.optim.text_dropout for draw in draws])
        return torch.where(without[:, None, None], self.empty_text, told)

    def _coverage(self, items: list[int]) -> Float[Tensor, "b lf 1 lh lw"]:
        """Where the target's person is in any frame that a latent holds, in [0, 1]."""
        body = self.pool["own_masks"][items][:, :, 0]
        return torch.from_numpy(body.max(axis=2, keepdims=True)).float()

    def _own_cues(self, item: int) -> CueArrays:
        return without_disabled(cue_arrays(self.pool, item, "own"), self.cues)

    def _cues_told(self, item: int, draw: Draw) -> CueArrays:
        own = draw.rng.random() < self.same_id_share
        cues = self._own_cues(item) if own else without_disabled(cue_arrays(self.pool, item, "cross"), self.cues)
        return null_arrays(cues) if draw.rng.random() < self.optim.cue_dropout else cues


def no_text(spec: ModelSpec) -> Float[Tensor, "1 m t"]:
    """The text tokens of a model that is told no words."""
    return torch.zeros(1, spec.max_text_tokens, spec.text_embed_dim)


def cross_id_objective(process: NoiseProcess, teacher: CueBackbone, spec: Same2XSpec) -> Objective:
    """L = L_denoise + weight * L_S2X on the same noisy latents, noise, timestep and reference.

    The teacher sees the target's own cues, the student those of the driving person.
    Source: Beyond Skeletons, Same2X. Deviation: none known; the teacher's cues are inferred."""
    block = spec.block(len(teacher.cue_blocks))

    def objective(model: nn.Module, batch: DenoisingBatch) -> Losses:
        pair = noised(batch, process)
        told = (pair.noisy_latents, batch.reference_latents, batch.text, pair.timestep)
        output: CueFusionOutput = model(*told, batch.cues, features_after=block if spec.enabled else None)
        denoising = denoising_loss(output.velocity, pair.velocity, batch.weights)
        if output.features is None:
            return {"loss": denoising, "denoising": denoising}
        alignment = s2x_loss(output.features, teacher.features(*told, batch.teacher_cues, after=block))
        return {"loss": denoising + spec.weight * alignment, "denoising": denoising, "s2x": alignment}

    return objective


@torch.no_grad()
def held_out_loss(model: nn.Module, source: BatchSource, process: NoiseProcess) -> float:
    """The mean denoising loss over the held-out batches of a source, whose pool no training has seen.

    A function of the weights alone, so that trainings can be compared step by step. The alignment loss is not in it."""
    objective = denoising_objective(process)
    device = next(model.parameters()).device
    losses = [objective(model, batch.to(device))["loss"] for batch in source.held_out_batches()]
    return float(torch.stack(losses).mean())
