"""The shape of the CueFusion transformer and where its weights come from. Imports nothing heavy."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from directanimator.frozen import FrozenSpec

Precision = Literal["fp32", "bf16"]
TextEncoderName = Literal["none", "t5", "umt5"]
BackboneName = Literal["cogvideox", "wan"]
Positions = Literal["cells", "learned"]
Fusion = Literal["adaln", "concat", "cross_attention"]
CueInit = Literal["zero", "default"]
CueEntry = Literal["residual", "attention"]
CueCarry = Literal["gated", "ungated", "modulated"]
Positive = Annotated[int, Field(ge=1)]
OUR_BASES = ("embedded", "random")
"""Values of `base` that are no directory."""
EMBEDDED_WEIGHTS = {"base": "3f1b1fcccf5c", "codec": "d176ef075718"}
"""What fields of the model mean by `embedded`: the first 12 digits of the shipped weights' sha256.

A dry run has no time to read the files; a test holds these to them."""
_PARTS_OF: dict[str, dict[str, BackboneName]] = {
    "base": {"embedded": "cogvideox"},
    "codec": {"cogvideox": "cogvideox", "wan": "wan"},
    "text_encoder": {"t5": "cogvideox", "umt5": "wan"},
}
"""Values of fields that belong to one backbone; others suit both."""


class ModelSpec(FrozenSpec):
    """An image-to-video transformer with CueFusion blocks."""

    backbone: BackboneName = "cogvideox"
    """cogvideox (the paper): v-prediction. wan: Wan2.2-TI2V-5B, whose objective is flow matching."""
    base: str = "embedded"
    """`embedded` (the shipped tiny base), `random` (no weights), or a directory in diffusers' layout."""
    num_layers: Positive = 6
    num_heads: Positive = 4
    head_dim: Annotated[int, Field(ge=16, multiple_of=16)] = 64
    latent_channels: Positive = 128
    """Channels of the codec's latents; CogVideoX reads twice as many (noisy + reference)."""
    patch_size: Positive = 1
    patch_size_t: Positive | None = None
    """Temporal patch of CogVideoX 1.5; None for 1.0 and for Wan."""
    feed_forward_dim: Positive | None = None
    """Width inside a block's feed-forward layer; None: four times that of a token, as in CogVideoX. Wan has its own."""
    time_embed_dim: Positive = 64
    """Width of the embedded timestep; on Wan, of the one that modulates the cues."""
    text_embed_dim: Positive = 32
    max_text_tokens: Positive = 2
    ofs_embed_dim: Positive | None = None
    """Only CogVideoX1.5-I2V has it."""
    codec: Literal["embedded", "cogvideox", "wan"] = "embedded"
    """embedded, or the VAE of the directory model.base: CogVideoX's (16 channels, cells of 8 px) or Wan2.2-TI2V-5B's
    (48, 16 px)."""
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
    text_encoder: TextEncoderName = "none"
    """none: the model is told no words. t5, umt5: captions, by CogVideoX's or Wan's T5 of the directory model.base."""

    cue_carry: CueCarry = "gated"
    """What of a cue the next block is given. gated (the paper, equation 3): the raw cue and a gated share of the
    modulated one. ungated: the whole of both. modulated: no raw cue, the modulated one and its gated share alone."""

    @property
    def width(self) -> int:
        """Token width."""
        return self.num_heads * self.head_dim

    def padded(self, latent_frames: int) -> int:
        """Latent frames that the model denoises for a clip of so many: the first one stands there repeated, until they
        fill temporal patches.

        Source: diffusers' pipeline of CogVideoX 1.5, which samples such frames as all others and drops them."""
        return latent_frames + -latent_frames % (self.patch_size_t or 1)

    @model_validator(mode="after")
    def _only_the_paper_s_fusion_has_its_options(self) -> "ModelSpec":
        options = {"cue_entry": (self.cue_entry, "choice of entry"), "cue_carry": (self.cue_carry, "gate or residual")}
        for name, (value, what) in options.items():
            if self.fusion != "adaln" and value != type(self).model_fields[name].default:
                raise ValueError(f"{name}={value} needs fusion=adaln, and fusion={self.fusion} has no {what} of cues")
        return self

    @model_validator(mode="after")
    def _the_embedded_base_has_the_embedded_codec(self) -> "ModelSpec":
        if self.base == "embedded" and self.codec != "embedded":
            raise ValueError("base=embedded was trained on codec=embedded; use base=random or a directory")
        return self

    @model_validator(mode="after")
    def _each_backbone_has_its_own_parts_and_options(self) -> "ModelSpec":
        for name, parts in _PARTS_OF.items():
            owner = parts.get(getattr(self, name), self.backbone)
            if owner != self.backbone:
                raise ValueError(f"{name}={getattr(self, name)} needs backbone={owner}")
        if self.backbone == "cogvideox" and self.feed_forward_dim is not None:
            raise ValueError(f"feed_forward_dim={self.feed_forward_dim} needs backbone=wan; CogVideoX has 4 x width")
        if self.backbone == "wan":
            for name in ("patch_size_t", "ofs_embed_dim", "positions"):
                value, only = getattr(self, name), type(self).model_fields[name].default
                if value != only:
                    raise ValueError(f"{name}={value} needs backbone=cogvideox; wan has {str(only).lower()}")
        return self
