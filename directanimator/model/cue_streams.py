"""Driving cues as the transformer reads them, and what every way of fusing them with the video has in common.

In the order of travel: cue latents, cue embedding, streams of tokens, the block that is given them. How a block fuses
them is in `cue_fusion` (the paper's), `cue_concat` and `cue_attention`.
"""

from dataclasses import dataclass, fields
from typing import ClassVar, NamedTuple

import torch
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXBlock
from jaxtyping import Bool, Float
from torch import Tensor, nn

Rotary = tuple[Float[Tensor, "n r"], Float[Tensor, "n r"]]
"""Cosines and sines of the video tokens' positions."""
MASK_CHANNELS = 16
"""Values of a location mask in a latent cell: four frames of 2 x 2 parts."""


@dataclass(frozen=True)
class CueLatents:
    """The driving cue triplet as the transformer reads it, on the latent grid."""

    pose: Float[Tensor, "b lf c lh lw"]
    """Latents of the pose cue; zero where it is absent."""
    face: Float[Tensor, "b lf c lh lw"]
    """Latents of the face cue; zero where it is absent."""
    body_mask: Float[Tensor, "b lf m lh lw"]
    """Location cue of the body, in [0, 1]: each latent cell's frames and parts on the channels."""
    face_mask: Float[Tensor, "b lf m lh lw"]
    """Location cue of the face, likewise."""
    pose_present: Bool[Tensor, "b lf"]
    """Where the pose stream (pose cue or body mask) has anything to say; elsewhere it adds nothing."""
    face_present: Bool[Tensor, "b lf"]
    """Where the face stream (face cue or face mask) has anything to say; elsewhere it adds nothing."""

    def padded(self, count: int) -> "CueLatents":
        """The cues with the first latent frame repeated `count` times more."""
        return CueLatents(**{field.name: pad_front(getattr(self, field.name), count) for field in fields(self)})


class CueStream(NamedTuple):
    """Tokens of one cue, and where it is present (1) or not (0)."""

    tokens: Float[Tensor, "b n d"]
    present: Float[Tensor, "b n 1"]


class Streams(NamedTuple):
    """The two cue streams that travel through the blocks."""

    pose: CueStream
    face: CueStream


def pad_front(frames: Float[Tensor, "b lf *rest"] | Bool[Tensor, "b lf *rest"], count: int) -> Tensor:
    """The frames with the first one repeated `count` times more."""
    return torch.cat([frames[:, :1].expand(-1, count, *frames.shape[2:]), frames], dim=1)


class CueEmbed(nn.Module):
    """Tokens of a cue's latents and its mask: one linear map of each patch, as CogVideoX embeds video patches."""

    def __init__(self, latent_channels: int, width: int, patch_size: int, patch_size_t: int | None) -> None:
        super().__init__()
        self.patch = (patch_size_t or 1, patch_size, patch_size)
        self.proj = nn.Conv3d(latent_channels + MASK_CHANNELS, width, self.patch, stride=self.patch)

    def forward(self, latents: Float[Tensor, "b lf c lh lw"], mask: Float[Tensor, "b lf m lh lw"]) -> Tensor:
        """(b, n, d) tokens in the order of the video's tokens."""
        volume = torch.cat([latents, mask], dim=2).transpose(1, 2)
        tokens: Tensor = self.proj(volume).flatten(2).transpose(1, 2)
        return tokens


Told = tuple[Float[Tensor, "b n d"], Float[Tensor, "b m d"], Streams | None]
"""Video tokens, text tokens and cue streams."""


class CueBlock(CogVideoXBlock):
    """CogVideoX's block that is told of the cues; each way of fusing them is one kind of it.

    Whatever the way: without streams it is CogVideoX's block itself, and a stream adds nothing where it is absent."""

    embeds_as_base: ClassVar[bool]
    """Whether the cue embeddings start as the base's own; else they are what starts at zero."""
    streams_made: ClassVar[int]
    """Streams of a block's own making that it hands on: what a further block keeps beside the tokens."""

    def forward(  # type: ignore[override]  # the streams travel with the tokens
        self,
        hidden: Float[Tensor, "b n d"],
        text: Float[Tensor, "b m d"],
        temb: Float[Tensor, "b e"],
        rotary: Rotary | None,
        streams: Streams | None,
    ) -> Told:
        """Video tokens, text tokens and cue streams after the block."""
        if streams is None:
            return *self.plain(hidden, text, temb, rotary), None
        return self.fused(hidden, text, temb, rotary, streams)

    def plain(
        self,
        hidden: Float[Tensor, "b n d"],
        text: Float[Tensor, "b m d"],
        temb: Float[Tensor, "b e"],
        rotary: Rotary | None,
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b m d"]]:
        """Video and text tokens after CogVideoX's own block."""
        tokens, words = super().forward(hidden, text, temb, rotary)
        return tokens, words

    def fused(
        self,
        hidden: Float[Tensor, "b n d"],
        text: Float[Tensor, "b m d"],
        temb: Float[Tensor, "b e"],
        rotary: Rotary | None,
        streams: Streams,
    ) -> Told:
        """Video tokens, text tokens and what is left of the streams after the block."""
        raise NotImplementedError(f"{type(self).__name__} fuses nothing")
