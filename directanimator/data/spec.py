"""What clips are trained and tested on. Imports nothing heavy, so that a dry run is quick."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from directanimator.extraction.spec import PerceptionSpec
from directanimator.frozen import FrozenSpec

Subset = Literal["self", "cross", "occlusion", "complex", "face", "ambiguous"]
"""Sets of test clips; all but the first two are chosen by what is seen in them."""

TEMPORAL_COMPRESSION = 4
"""Video frames per latent frame after the first (causal layout of CogVideoX's VAE)."""


class DataSpec(FrozenSpec):
    """The clips: synthetic humans, or a folder of videos."""

    source: Literal["synthetic", "folder"] = "synthetic"
    folder: str | None = None
    """Directory of videos; only with source=folder."""
    perception: PerceptionSpec = PerceptionSpec()
    """Who finds the people of a folder's videos; of synthetic humans the truth is known."""
    size: Annotated[int, Field(ge=32, le=2048, multiple_of=16)] = 64
    """Side of the square frames, in pixels."""
    latent_frames: Annotated[int, Field(ge=1, le=65)] = 3
    """Latent frames per clip; a clip has 4 * (latent_frames - 1) + 1 video frames."""
    fps: Annotated[float, Field(gt=0, le=120)] = 8.0
    cue_quality: Literal["true", "pseudo"] = "true"
    """Of the drivers that are trained on. true: as they are. pseudo: as an imperfect generator would make them;
    synthetic humans only. Tested is with true ones, so that variants are compared on the same clips."""
    cue_strength: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How bad pseudo drivers are: 0 not at all. Only with cue_quality=pseudo."""
    num_train_clips: Annotated[int, Field(ge=1)] = 1536
    num_test_clips: Annotated[int, Field(ge=1)] = 48

    @property
    def num_frames(self) -> int:
        """Video frames per clip."""
        return TEMPORAL_COMPRESSION * (self.latent_frames - 1) + 1

    @model_validator(mode="after")
    def _folder_goes_with_source(self) -> "DataSpec":
        if (self.source == "folder") != (self.folder is not None):
            raise ValueError("source=folder needs folder=DIR, and folder=DIR needs source=folder")
        return self

    @model_validator(mode="after")
    def _only_synthetic_drivers_are_degraded(self) -> "DataSpec":
        if self.source == "folder" and self.cue_quality == "pseudo":
            raise ValueError("cue_quality=pseudo needs source=synthetic: the videos of a folder are what they are")
        return self

    @model_validator(mode="after")
    def _only_videos_are_looked_at(self) -> "DataSpec":
        if self.source == "synthetic" and self.perception != PerceptionSpec():
            raise ValueError("perception.* needs source=folder: where synthetic humans are is known")
        return self

    @model_validator(mode="after")
    def _only_pseudo_drivers_have_a_strength(self) -> "DataSpec":
        usual = type(self).model_fields["cue_strength"].default
        if self.cue_quality == "true" and self.cue_strength != usual:
            raise ValueError(
                f"cue_strength={self.cue_strength} needs cue_quality=pseudo: true drivers are not degraded"
            )
        return self

    @property
    def undegraded(self) -> "DataSpec":
        """The same clips with true drivers."""
        usual = type(self).model_fields["cue_strength"].default
        return self.model_copy(update={"cue_quality": "true", "cue_strength": usual})
