"""The shape of the CueFusion transformer and where its weights come from. Imports nothing heavy."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from directanimator.frozen import FrozenSpec

Positions = Literal["cells", "learned"]
Fusion = Literal["adaln", "concat", "cross_attention"]
CueInit = Literal["zero", "default"]
CueEntry = Literal["residual", "attention"]
CueCarry = Literal["gated", "ungated", "modulated"]
Positive = Annotated[int, Field(ge=1)]


class ModelSpec(FrozenSpec):
    """A CogVideoX image-to-video transformer with CueFusion blocks."""

    base: str = "embedded"
    """`embedded` (the shipped tiny base), `random` (no weights), or a directory in diffusers' layout."""
    num_layers: Positive = 6
    num_heads: Positive = 4
    head_dim: Annotated[int, Field(ge=16, multiple_of=16)] = 64
    latent_channels: Positive = 128
    """Channels of the codec's latents; the transformer reads twice as many (noisy + reference)."""
    patch_size: Positive = 1
    patch_size_t: Positive | None = None
    """Temporal patch of CogVideoX 1.5; None for 1.0."""
    time_embed_dim: Positive = 64
    text_embed_dim: Positive = 32
    max_text_tokens: Positive = 2
    ofs_embed_dim: Positive | None = None
    """Only CogVideoX1.5-I2V has it."""
    codec: Literal["embedded", "cogvideox"] = "embedded"
    fusion: Fusion = "adaln"
    """How the cues enter the transformer. adaln (the paper): modulated by time, added in every block. concat: joined to
    the channels of the input. cross_attention: looked up by the video tokens in every block."""
    cue_init: CueInit = "zero"
    """zero: equal to the base at the first step. default: the library's own initialisation."""
    cue_entry: CueEntry = "residual"
    """Where a block adds the modulated cues: to the video tokens themselves, or only to what its attention reads of
    them. The paper's words fit both; a short training hears its cues far better by the first."""
    positions: Positions = "cells"
    """cells: rotary positions count cells, as in CogVideoX 1.5. learned: as in CogVideoX-5B-I2V (1.0), rotary positions
    are measured in the 60 x 90 cells that it was trained on, and a learned table is added."""
    text_encoder: Literal["none", "t5"] = "none"
    """none: the model is told no words. t5: captions, by the T5 of the directory model.base."""

    cue_carry: CueCarry = "gated"
    """What of a cue the next block is given. gated (the paper, equation 3): the raw cue and a gated share of the
    modulated one. ungated: the whole of both. modulated: no raw cue, the modulated one and its gated share alone."""

    @property
    def width(self) -> int:
        """Token width."""
        return self.num_heads * self.head_dim

    @model_validator(mode="after")
    def _only_the_paper_s_fusion_has_its_options(self) -> "ModelSpec":
        options = {"cue_entry": (self.cue_entry, "choice of entry"), "cue_carry": (self.cue_carry, "gate or residual")}
        for name, (value, what) in options.items():
            if self.fusion != "adaln" and value != type(self).model_fields[name].default:
                raise ValueError(f"{name}={value} needs fusion=adaln, and fusion={self.fusion} has no {what} of cues")
        return self

    @model_validator(mode="after")
    def _temporal_patch_is_square_with_linear_embedding(self) -> "ModelSpec":
        if self.base == "embedded" and self.codec != "embedded":
            raise ValueError("base=embedded was trained on codec=embedded; use base=random or a directory")
        return self
