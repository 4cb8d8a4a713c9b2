"""A trained model with all that is needed to use it: a reference and driving cues of any length become frames.

The manner is that of diffusers' pipelines: components, `from_pretrained`, `__call__`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from directanimator.cues.spec import CueSpec
from directanimator.cues.triplet import DrivingCues
from directanimator.data.spec import DataSpec
from directanimator.errors import UserError
from directanimator.frozen import FrozenSpec
from directanimator.model.backbone import CueBackbone
from directanimator.model.codec import VideoCodec, to_frames, to_video
from directanimator.model.embedded import load_transformer, make_codec, make_text_encoder
from directanimator.model.precision import autocast, device_kind
from directanimator.model.published import EMPTY_TEXT_FILE
from directanimator.model.spec import ModelSpec
from directanimator.objective.spec import SamplingSpec
from directanimator.pipeline import generate
from directanimator.places import runs_root
from directanimator.progress import progress
from directanimator.training.prepared import cue_latents, encode_cues, without_disabled
from directanimator.training.spec import OptimSpec
from directanimator.training.stages import no_text
from directanimator.windows import Seams, Window, blended, default_overlap, plan_windows


class CheckpointSpec(FrozenSpec):
    """The part of an experiment's spec that its model needs to be used; the rest is not read."""

    model_config = ConfigDict(extra="ignore")

    data: DataSpec
    cues: CueSpec
    model: ModelSpec
    optim: OptimSpec
    sampling: SamplingSpec


@dataclass(frozen=True, eq=False)
class DirectAnimatorPipeline:
    """A trained model and its codec."""

    spec: CheckpointSpec
    transformer: CueBackbone
    codec: VideoCodec
    empty_text: Float[Tensor, "1 m t"]
    """The text tokens of an empty caption."""

    @classmethod
    def from_pretrained(cls, directory: Path, codec: VideoCodec | None = None) -> "DirectAnimatorPipeline":
        """The model of a checkpoint directory: `spec.json` and `transformer/`, by default with the codec of its spec.
        The model, and a published codec, are on a GPU where there is one.

        Raises: UserError if it is missing, damaged, or of another architecture than its spec or the codec."""
        spec = _read_spec(directory / "spec.json")
        codec = make_codec(spec.model, tiling=True, device=device_kind()) if codec is None else codec
        if spec.model.latent_channels != codec.latent_channels:
            raise UserError(
                f"{directory} is made for latents of {spec.model.latent_channels} channels, the codec's have "
                f"{codec.latent_channels}; want a checkpoint of model.codec={spec.model.codec}"
            )
        transformer = load_transformer(directory / "transformer", spec.model)
        transformer.to(torch.device(device_kind()))  # type: ignore[arg-type]  # its decorator hides the method
        return cls(spec, transformer, codec, _empty_text(directory, spec.model))

    def text_of(self, prompt: str) -> Float[Tensor, "1 m t"]:
        """The text tokens of a prompt.

        Raises: UserError if the model is told no words, or what makes tokens of them is missing or damaged."""
        words = make_text_encoder(self.spec.model)  # a GPU is full of the model
        if words is None:
            raise UserError(f"prompt={prompt}: the model is told no words; leave it out")
        return words.encode([prompt])

    def windows(self, count: int, overlap: int | None = None) -> list[Window]:
        """How `count` frames are made, window by window; by default neighbors share a quarter.

        Raises: UserError for an overlap as long as the window."""
        length = self.spec.data.num_frames
        return plan_windows(count, length, default_overlap(length) if overlap is None else overlap)

    def __call__(
        self,
        reference: UInt8[np.ndarray, "1 s s 3"],
        cues: DrivingCues,
        seed: int = 0,
        overlap: int | None = None,
        seams: Seams | None = None,
        text: Float[Tensor, "1 m t"] | None = None,
    ) -> Iterator[UInt8[np.ndarray, "s s 3"]]:
        """One frame per frame of the cues, each given out as soon as it is whole; `seams` takes down how they fit.

        `text` holds the tokens of a prompt; without it the model is told an empty one.

        Every window sees the reference itself and none sees what another made, so errors do not pile up along the
        video; all start from the same noise, so they do not differ by chance.
        Raises: UserError for an overlap as long as the window."""
        windows = self.windows(cues.num_frames, overlap)
        with torch.no_grad():
            latents = self.codec.encode_reference(to_video(reference))
        shape = (1, self.spec.model.padded(self.spec.data.latent_frames), *latents.shape[2:])
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        watched = progress(windows, "animating", total=len(windows))

        def make(window: Window) -> UInt8[np.ndarray, "l s s 3"]:
            next(watched)
            return self._window(
                latents, at_frames(cues, window.frames), noise, self.empty_text if text is None else text
            )

        return blended(windows, make, seams)

    def _window(
        self,
        reference: Float[Tensor, "1 1 c lh lw"],
        cues: DrivingCues,
        noise: Float[Tensor, "1 nf c lh lw"],
        text: Float[Tensor, "1 m t"],
    ) -> UInt8[np.ndarray, "f s s 3"]:
        told = cue_latents([without_disabled(encode_cues(cues, self.codec), self.spec.cues)])
        told_all = (self.transformer, self.codec, reference, text, told, noise, self.spec.sampling, self.empty_text)
        with autocast(self.transformer.device.type, self.spec.optim.precision):
            video = generate(*told_all)
        return to_frames(video)[0]


def at_frames(cues: DrivingCues, frames: Sequence[int]) -> DrivingCues:
    """The cues of the chosen frames, in their order."""
    chosen = list(frames)
    return DrivingCues(**{field.name: getattr(cues, field.name)[chosen] for field in fields(cues)})


def default_checkpoint(stage: Literal["same_id", "cross_id"] = "cross_id") -> Path:
    """The model directory of the newest finished run of a stage.

    Raises: UserError if there is none."""
    specs = [p for p in runs_root().glob(f"{stage}-*/model/spec.json") if (p.parent / "transformer").is_dir()]
    if not specs:
        raise UserError(f"no finished run in {runs_root()}: run `make demo` first, or give checkpoint=DIR")
    return max(specs, key=lambda path: path.stat().st_mtime).parent


def _empty_text(directory: Path, model: ModelSpec) -> Float[Tensor, "1 m t"]:
    if model.text_encoder == "none":
        return no_text(model)
    path = directory / EMPTY_TEXT_FILE
    try:
        return load_file(path)["text"]
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(f"{path} cannot be read; a model that is told words needs it") from error


def _read_spec(path: Path) -> CheckpointSpec:
    if not path.is_file():
        raise UserError(f"checkpoint={path.parent}: no {path.name} there; want a run's model directory")
    try:
        return CheckpointSpec.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path}: {place}: {first['msg']}") from error
