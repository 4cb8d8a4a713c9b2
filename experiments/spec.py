"""One experiment as one frozen value: composes the parts, refuses contradictions, names results by content."""

import functools
import json
from collections.abc import Mapping
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from directanimator.cues.spec import CueSpec
from directanimator.data.spec import DataSpec, Subset
from directanimator.data.version import FOLDER_VERSION, SYNTH_VERSION
from directanimator.digests import digest
from directanimator.frozen import FrozenSpec
from directanimator.metrics.spec import I3D_MIN_FRAMES, NetworkName
from directanimator.model.spec import EMBEDDED_WEIGHTS, BackboneName, ModelSpec
from directanimator.objective.spec import (
    FLOW_SCHEDULERS,
    NUM_TIMESTEPS,
    V_SCHEDULERS,
    DenoisingSpec,
    SamplingSpec,
    ends_without_noise,
)
from directanimator.training.spec import CrossIdSpec, OptimSpec, Same2XSpec, SameIdSpec
from experiments.edit import Leaf, leaves

Stage = Literal["same_id", "cross_id"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""In the order of training."""
WEIGHTS_TAG = "weights_fingerprint"
"""A run's tag that names the weights it ends with, but for a folder's pairs."""
CODEC_CHANNELS: dict[str, int] = {"embedded": ModelSpec().latent_channels, "cogvideox": 16, "wan": 48}
"""Latent channels that each codec writes; the default model is made for the embedded codec."""
SCHEDULERS: dict[BackboneName, tuple[str, ...]] = {"cogvideox": V_SCHEDULERS, "wan": FLOW_SCHEDULERS}
"""Samplers of what each backbone predicts."""
CODEC_CELLS: dict[str, int] = {"embedded": 8, "cogvideox": 8, "wan": 16}
"""Pixels per latent cell, along each side."""
UNREAD_BY_TRAINING = ("sampling.", "evaluation.")
"""Groups that come into play only once the weights are there."""
UNREAD_BY_SAME_ID = ("cross_id.", "same2x.", *UNREAD_BY_TRAINING)
"""Groups that come into play only after the same-ID stage."""
READ_BY_TRAINING = ("sampling.snr_shift_scale",)
"""The noise schedule is trained on, not only sampled from."""


class EvaluationSpec(FrozenSpec):
    """What is measured after training; the number of clips is `data.num_test_clips`."""

    subsets: Annotated[tuple[Subset, ...], Field(min_length=1)] = ("self", "cross")
    """self: driven by the reference's own clip. cross: driven by another person. The others are driven by another
    person too, and have up to 32 clips of their own, chosen by ground truth: occlusion (things in front of people),
    complex (turned backs, fast motions), face (strong expressions, from near), ambiguous (twins that a skeleton cannot
    tell apart)."""
    split: Literal["val", "test"] = "test"
    """val: other people, motions and videos, to choose by what is then tested on the rest."""
    networks: Annotated[tuple[NetworkName, ...], Field(min_length=1)] | None = None
    """Networks whose metrics are measured beside the scores by ground truth; their weights have to be there first.
    To be fetched: mobilenet_v2 (FID, KID and LPIPS in its own features), i3d (FVD, KVD, FID-VID), person (landmarks and
    masks by MediaPipe), dlib_face (identity). To be brought: inception (FID), alexnet (LPIPS), arcface, dwpose."""

    @model_validator(mode="after")
    def _subsets_are_named_once(self) -> Self:
        if len(set(self.subsets)) != len(self.subsets):
            raise ValueError(f"subsets={','.join(self.subsets)} names a subset twice")
        return self

    @model_validator(mode="after")
    def _networks_are_named_once(self) -> Self:
        if self.networks is not None and len(set(self.networks)) != len(self.networks):
            raise ValueError(f"networks={','.join(self.networks)} names a network twice")
        return self


class ExperimentSpec(FrozenSpec):
    """All that changes an experiment's numbers, and nothing else."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Root of all randomness. The bound is numpy's."""
    data: DataSpec = DataSpec()
    cues: CueSpec = CueSpec()
    model: ModelSpec = ModelSpec()
    optim: OptimSpec = OptimSpec()
    denoising: DenoisingSpec = DenoisingSpec()
    same_id: SameIdSpec = SameIdSpec()
    cross_id: CrossIdSpec = CrossIdSpec()
    same2x: Same2XSpec = Same2XSpec()
    sampling: SamplingSpec = SamplingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()

    @property
    def latent_side(self) -> int:
        """Cells of a latent frame, along each side."""
        return self.data.size // CODEC_CELLS[self.model.codec]

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        contradictions = [*_model_contradictions(self), *_clip_contradictions(self)]
        if contradictions:
            raise ValueError(" | ".join(contradictions))
        return self


def _model_contradictions(spec: ExperimentSpec) -> list[str]:
    model = spec.model
    channels = CODEC_CHANNELS[model.codec]
    found: list[str] = []
    if model.latent_channels != channels:
        given = f"model.latent_channels={model.latent_channels}"
        found.append(f"{given}: must be {channels} with model.codec={model.codec}")
    if spec.latent_side % model.patch_size:
        found.append(f"model.patch_size={model.patch_size}: must divide the latent side, {spec.latent_side}")
    if spec.sampling.scheduler not in SCHEDULERS[model.backbone]:
        given, legal = f"sampling.scheduler={spec.sampling.scheduler}", " or ".join(SCHEDULERS[model.backbone])
        found.append(f"{given}: must be {legal} with model.backbone={model.backbone}")
    return [*found, *_sampling_contradictions(spec)]


def _sampling_contradictions(spec: ExperimentSpec) -> list[str]:
    sampling, found = spec.sampling, []
    if sampling.scheduler in V_SCHEDULERS and not ends_without_noise(sampling.num_steps):
        legal = [count for count in range(1, NUM_TIMESTEPS + 1) if ends_without_noise(count)]
        below = max(count for count in legal if count < sampling.num_steps)
        above = min(count for count in legal if count > sampling.num_steps)
        given = f"sampling.num_steps={sampling.num_steps}"
        found.append(f"{given}: sampling.scheduler={sampling.scheduler} would not end at the clip itself; {below} "
                     f"and {above} do")  # fmt: skip
    if sampling.guidance_scale > 1 and sampling.guidance_over == "text" and spec.model.text_encoder == "none":
        given = f"sampling.guidance_scale={sampling.guidance_scale:g}"
        found.append(f"{given}: must be 1 with sampling.guidance_over=text and model.text_encoder=none, where both "
                     "branches are told the same")  # fmt: skip
    return found


def _clip_contradictions(spec: ExperimentSpec) -> list[str]:
    data = spec.data
    found: list[str] = []
    if spec.model.codec == "cogvideox" and data.latent_frames % 2 == 0:
        given = f"data.latent_frames={data.latent_frames}"
        found.append(f"{given}: must be odd with model.codec=cogvideox, which keeps 8k+1 frames")
    cells = spec.cues.location.soften_cells
    if cells is not None and cells > data.size:
        found.append(f"cues.location.soften_cells={cells}: must be <= data.size={data.size}, or none")
    if data.source == "folder" and spec.cues.pose.is_skeleton:
        given = f"cues.pose.picture={spec.cues.pose.picture}"
        found.append(f"{given}: needs data.source=synthetic, since nobody knows the true skeleton of a real video")
    if data.source == "folder" and spec.evaluation.subsets != ("self",):
        given = f"evaluation.subsets={','.join(spec.evaluation.subsets)}"
        found.append(f"{given}: must be self with data.source=folder, whose clips have no cross-ID target")
    chosen = [subset for subset in spec.evaluation.subsets if subset not in ("self", "cross")]
    if spec.evaluation.split == "val" and chosen:
        given = "evaluation.split=val"
        found.append(f"{given}: must be test with evaluation.subsets={','.join(chosen)}, found there alone")
    if "i3d" in (spec.evaluation.networks or ()) and data.num_frames < I3D_MIN_FRAMES:
        given = f"evaluation.networks={','.join(spec.evaluation.networks or ())}"
        found.append(
            f"{given}: i3d needs clips of {I3D_MIN_FRAMES} frames or more, data.latent_frames={data.latent_frames} "
            f"gives {data.num_frames}"
        )
    return found


def fingerprint(spec: FrozenSpec) -> str:
    """12 hex digits that name the spec by its content; equal specs share them, whatever the order of fields.

    Raises: TypeError if a value has no one spelling."""
    return _digest(leaves(spec))


def stage_fingerprint(spec: ExperimentSpec, stage: Stage) -> str:
    """12 hex digits that name a stage's trained weights.

    The same-ID stage ignores what only later steps read, so that variants of those share one teacher."""
    return _digest({**stage_leaves(spec, stage), **_made_from(spec)})


@functools.cache
def stage_name(spec: ExperimentSpec, stage: Stage) -> str:
    """Name of a stage's run directory; specs whose stage is trained alike share it."""
    return f"{stage}-{stage_fingerprint(spec, stage)}"


def steps_of(spec: ExperimentSpec, stage: Stage) -> int:
    """Optimizer steps of a stage."""
    return spec.same_id.steps if stage == "same_id" else spec.cross_id.steps


def weights_fingerprint(spec: ExperimentSpec) -> str:
    """12 hex digits that name the weights that both stages end with, however they are sampled and measured."""
    read = {path: value for path, value in leaves(spec).items() if _read(path, UNREAD_BY_TRAINING)}
    return _digest({**read, **_made_from(spec)})


def _made_from(spec: ExperimentSpec) -> dict[str, Leaf]:
    """What decides trained weights beside the spec's own values."""
    padded = {"noise_of_padding": "its own"} if spec.model.patch_size_t is not None else {}
    return {**_clips_version(spec), **_shipped_weights(spec), **padded}


def _clips_version(spec: ExperimentSpec) -> dict[str, Leaf]:
    """Under which the spec names these clips: those of synthetic humans are others in every version of them, and so
    are those of a folder that is split another way."""
    return {"synthetic": SYNTH_VERSION} if spec.data.source == "synthetic" else {"folder": FOLDER_VERSION}


def _shipped_weights(spec: ExperimentSpec) -> dict[str, Leaf]:
    """What the spec's `embedded` stands for: whoever trains base or codec anew trains other models from it."""
    named = {"base": spec.model.base, "codec": spec.model.codec}
    return {f"embedded.{part}": EMBEDDED_WEIGHTS[part] for part, name in named.items() if name == "embedded"}


def stage_leaves(spec: ExperimentSpec, stage: Stage) -> dict[str, Leaf]:
    """The part of the spec that decides a stage's trained weights, by path."""
    return {
        path: value for path, value in leaves(spec).items() if stage == "cross_id" or _read(path, UNREAD_BY_SAME_ID)
    }


def _read(path: str, unread: tuple[str, ...]) -> bool:
    return path in READ_BY_TRAINING or not path.startswith(unread)


def data_fingerprint(spec: ExperimentSpec) -> str:
    """12 hex digits that name the clips and their cues; switching a cue off does not change what is cached."""
    read = {path: value for path, value in leaves(spec).items() if _read_by_data(path)}
    return _digest({**read, **_clips_version(spec)})


def _read_by_data(path: str) -> bool:
    return path.startswith(("data.", "cues.")) and not path.endswith(".enabled")


def _digest(values: Mapping[str, Leaf]) -> str:
    canonical = {path: _canonical(value) for path, value in values.items()}
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return digest(text)


def _canonical(value: object) -> object:
    """The value in its one JSON spelling; -0.0 is 0.0, as it equals it."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value + 0.0
        case tuple():
            return [_canonical(item) for item in value]
        case _:
            raise TypeError(f"a {type(value).__name__} has no canonical form: {value!r}")
