"""The CueFusion transformer on Wan: the same cue streams and modulation in the blocks of another backbone.

Wan2.2-TI2V-5B, the one published image-to-video Wan with a single transformer and no image encoder: 2.1 reads the image
through CLIP too, 2.2-I2V-A14B is two transformers of 14 B. Wan's axes are (clip, channel, latent frame, row, column),
and this one has no channels for an image: a latent frame that is given stands in the volume as it is, at time 0."""

from typing import ClassVar, NamedTuple

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel, WanTransformerBlock
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from directanimator.model.backbone import CueBackbone, Start
from directanimator.model.cue_attention import CueAttention
from directanimator.model.cue_fusion import CueModulation
from directanimator.model.cue_streams import CueEmbed, CueLatents, Streams, Told
from directanimator.model.spec import CueCarry, CueEntry, CueInit, Fusion

TIME_FREQUENCIES = 256
"""Sines and cosines of a timestep, in every published Wan."""


class WanTimes(NamedTuple):
    """Embedded times, in the three forms that they are read in."""

    out: Float[Tensor, "b n d"]
    """Of every token, for the last layer."""
    blocks: Float[Tensor, "b n 6 d"]
    """Of every token, for the blocks."""
    cues: Float[Tensor, "b e"] | None
    """Of the clip, for the cues, where time modulates them."""


Turns = tuple[Float[Tensor, "1 n 1 r"], Float[Tensor, "1 n 1 r"]]
"""Cosines and sines of the tokens' positions, in Wan's form."""


class WanCueBlock(WanTransformerBlock):
    """Wan's block that is told of the cues; each way of fusing them is one kind of it, as of `CueBlock`.

    The reference's tokens, which come first, are told nothing."""

    embeds_as_base: ClassVar[bool]
    """Whether the cue embeddings start as the base's own; else they are what starts at zero."""
    streams_made: ClassVar[int]
    """Streams of a block's own making that it hands on: what a further block keeps beside the tokens."""

    def __init__(self, width: int, feed_forward_dim: int, num_heads: int) -> None:
        super().__init__(width, feed_forward_dim, num_heads, cross_attn_norm=True)

    def forward(  # type: ignore[override]  # the streams travel with the tokens
        self,
        hidden: Float[Tensor, "b n d"],
        text: Float[Tensor, "b m d"],
        times: WanTimes,
        rotary: Turns,
        streams: Streams | None,
    ) -> Told:
        """Tokens of reference and clip, text tokens and cue streams after the block."""
        if streams is None:
            return self.plain(hidden, text, times, rotary), text, None
        hidden, streams = self.fused(hidden, text, times, rotary, streams)
        return hidden, text, streams

    def plain(
        self, hidden: Float[Tensor, "b n d"], text: Float[Tensor, "b m d"], times: WanTimes, rotary: Turns
    ) -> Float[Tensor, "b n d"]:
        """Tokens after Wan's own block."""
        out: Tensor = super().forward(hidden, text, times.blocks, rotary)  # type: ignore[arg-type]  # declared otherwise
        return out

    def fused(
        self,
        hidden: Float[Tensor, "b n d"],
        text: Float[Tensor, "b m d"],
        times: WanTimes,
        rotary: Turns,
        streams: Streams,
    ) -> tuple[Float[Tensor, "b n d"], Streams | None]:
        """Tokens and what is left of the streams after the block."""
        raise NotImplementedError(f"{type(self).__name__} fuses nothing")


def _on_clip(added: Float[Tensor, "b k d"], hidden: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    """What is added to the clip's tokens, and nothing for the reference's before them."""
    return F.pad(added, (0, 0, hidden.shape[1] - added.shape[1], 0))


class WanFusionBlock(WanCueBlock):
    """The modulated cues are added before the self-attention: the paper's way, as in `CueFusionBlock`.

    entry=attention: to the normed and modulated tokens that the attention reads; residual: to the tokens themselves."""

    embeds_as_base = True
    streams_made = 2

    def __init__(
        self,
        width: int,
        feed_forward_dim: int,
        num_heads: int,
        cue_time_dim: int,
        cue_init: CueInit,
        cue_entry: CueEntry,
        cue_carry: CueCarry,
    ) -> None:
        super().__init__(width, feed_forward_dim, num_heads)
        self.cues = CueModulation(cue_time_dim, width, cue_init, cue_carry)
        self.cue_entry = cue_entry

    def fused(
        self,
        hidden: Float[Tensor, "b n d"],
        text: Float[Tensor, "b m d"],
        times: WanTimes,
        rotary: Turns,
        streams: Streams,
    ) -> tuple[Float[Tensor, "b n d"], Streams | None]:
        """Tokens and modulated cue streams after the block."""
        assert times.cues is not None
        added, streams = self.cues(streams, times.cues)
        added = _on_clip(added, hidden)
        if self.cue_entry == "residual":
            return self.plain(hidden + added, text, times, rotary), streams
        return self._told_in_attention(hidden, text, times.blocks, rotary, added), streams

    def _told_in_attention(self, hidden: Tensor, text: Tensor, times: Tensor, rotary: Turns, added: Tensor) -> Tensor:
        """Wan's own block but for `added`, in the precisions that diffusers computes it in."""
        table = self.scale_shift_table.unsqueeze(0) + times.float()
        shift, scale, gate, fed_shift, fed_scale, fed_gate = table.unbind(dim=2)
        normed = (self.norm1(hidden.float()) * (1 + scale) + shift).type_as(hidden)
        attended = self.attn1(normed + added, None, None, rotary)
        hidden = (hidden.float() + attended * gate).type_as(hidden)
        hidden = hidden + self.attn2(self.norm2(hidden.float()).type_as(hidden), text, None, None)
        normed = (self.norm3(hidden.float()) * (1 + fed_scale) + fed_shift).type_as(hidden)
        return (hidden.float() + self.ffn(normed).float() * fed_gate).type_as(hidden)


class WanConcatBlock(WanCueBlock):
    """The first block, which alone is given streams, adds them as they are to its tokens; see `CueConcatBlock`."""

    embeds_as_base = False
    streams_made = 0

    def fused(
        self,
        hidden: Float[Tensor, "b n d"],
        text: Float[Tensor, "b m d"],
        times: WanTimes,
        rotary: Turns,
        streams: Streams,
    ) -> tuple[Float[Tensor, "b n d"], Streams | None]:
        """Tokens after the block; no further block is given streams."""
        for stream in streams:
            hidden = hidden + _on_clip(stream.tokens * stream.present, hidden)
        return self.plain(hidden, text, times, rotary), None


class WanAttentionBlock(WanCueBlock):
    """The clip's tokens look the cues up before the self-attention; see `CueAttentionBlock`."""

    embeds_as_base = True
    streams_made = 0

    def __init__(self, width: int, feed_forward_dim: int, num_heads: int, cue_init: CueInit) -> None:
        super().__init__(width, feed_forward_dim, num_heads)
        self.cues = CueAttention(width, num_heads, cue_init)

    def fused(
        self,
        hidden: Float[Tensor, "b n d"],
        text: Float[Tensor, "b m d"],
        times: WanTimes,
        rotary: Turns,
        streams: Streams,
    ) -> tuple[Float[Tensor, "b n d"], Streams | None]:
        """Tokens and the streams as they were."""
        clip = -streams.pose.tokens.shape[1]
        cosines, sines = (turns[0, clip:, 0] for turns in rotary)
        hidden = hidden + _on_clip(self.cues(hidden[:, clip:], streams, (cosines, sines)), hidden)
        return self.plain(hidden, text, times, rotary), streams


class WanCueFusionTransformer(CueBackbone, WanTransformer3DModel):  # type: ignore[misc]  # as in CueBackbone
    """Wan's transformer with CueFusion blocks; with zero init equal to it bit for bit.

    Source: Wan2.2-TI2V-5B's image-to-video pipeline, where the image is the first latent frame, clean and at time 0.
    Deviation: there it is the first frame of the video too. Here the reference shows another pose than any frame of the
    clip, so it is one latent frame more, in front, of which nothing is given out."""

    _no_split_modules = ["WanFusionBlock", "WanConcatBlock", "WanAttentionBlock"]  # noqa: RUF012  # diffusers' own declaration
    low_rank_layers: ClassVar[str] = r"blocks\.\d+\.(attn[12]\.(to_q|to_k|to_v|to_out\.0)|ffn\.net\.(0\.proj|2))"
    stated: ClassVar[tuple[str, ...]] = (
        "num_attention_heads",
        "attention_head_dim",
        "in_channels",
        "out_channels",
        "num_layers",
        "patch_size",
        "text_dim",
        "freq_dim",
        "ffn_dim",
        "cross_attn_norm",
        "qk_norm",
        "eps",
        "image_dim",
        "added_kv_proj_dim",
        "pos_embed_seq_len",
    )

    @register_to_config
    def __init__(
        self,
        num_attention_heads: int = 24,
        attention_head_dim: int = 128,
        in_channels: int = 48,
        out_channels: int = 48,
        num_layers: int = 30,
        patch_size: tuple[int, int, int] = (1, 2, 2),
        text_dim: int = 4096,
        ffn_dim: int = 14336,
        cue_time_dim: int = 512,
        cue_init: CueInit = "zero",
        cue_entry: CueEntry = "residual",
        cue_carry: CueCarry = "gated",
        cue_fusion: Fusion = "adaln",
    ) -> None:
        super().__init__(
            patch_size=tuple(patch_size),
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            in_channels=in_channels,
            out_channels=out_channels,
            text_dim=text_dim,
            freq_dim=TIME_FREQUENCIES,
            ffn_dim=ffn_dim,
            num_layers=num_layers,
        )
        width = num_attention_heads * attention_head_dim
        self.pose_embed = CueEmbed(out_channels, width, patch_size[1], None)
        self.face_embed = CueEmbed(out_channels, width, patch_size[1], None)
        shape = (width, ffn_dim, num_attention_heads)
        if cue_fusion == "adaln":
            self.cue_time = TimestepEmbedding(TIME_FREQUENCIES, cue_time_dim)

        def block() -> WanCueBlock:
            match cue_fusion:
                case "adaln":
                    return WanFusionBlock(*shape, cue_time_dim, cue_init, cue_entry, cue_carry)
                case "concat":
                    return WanConcatBlock(*shape)
                case "cross_attention":
                    return WanAttentionBlock(*shape, cue_init)

        self.blocks = nn.ModuleList(block() for _ in range(num_layers))

    @property
    def cue_blocks(self) -> nn.ModuleList:
        """The blocks, in order."""
        return self.blocks

    @property
    def embeds_as_base(self) -> bool:
        """Whether the cue embeddings start as Wan's own; else they are what starts at zero."""
        return self._block.embeds_as_base

    @property
    def _block(self) -> WanCueBlock:
        block = self.blocks[0]
        assert isinstance(block, WanCueBlock)
        return block

    def base_embedding(self) -> Float[Tensor, "d c pt p p"]:
        """How Wan reads latents, without its bias."""
        return self.patch_embedding.weight

    def _cells(self, height: int, width: int) -> int:
        """Tokens of a latent frame."""
        _, p, _ = self.pose_embed.patch
        return (height // p) * (width // p)

    def tokens_handed_on(self, frames: int, height: int, width: int, words: int) -> int:
        """Tokens of reference, clip and the cue streams; text is read in every block, but changed in none."""
        return (1 + (1 + self._block.streams_made) * frames) * self._cells(height, width)

    def _times(self, timestep: Tensor, text: Tensor, cells: int, frames: int) -> tuple[WanTimes, Tensor]:
        """The embedded times of the reference, which is 0, and of the clip; and the embedded text.

        Deviation: what modulates the cues is an embedding of its own. Wan's is as wide as a token, and a map from it to
        six more in every block would add a third of Wan's own weights."""
        of_clip = timestep[:, None].expand(-1, frames * cells)
        told = torch.cat([of_clip.new_zeros(len(timestep), cells), of_clip], dim=1)
        out, blocks, words, _ = self.condition_embedder(told.flatten(), text, timestep_seq_len=told.shape[1])
        of_cues = None
        if self.config["cue_fusion"] == "adaln":
            of_cues = self.cue_time(self.condition_embedder.timesteps_proj(timestep).to(text.dtype))
        return WanTimes(out, blocks.unflatten(2, (6, -1)), of_cues), words

    def _start(
        self,
        noisy_latents: Tensor,
        reference_latents: Tensor,
        text: Tensor,
        timestep: Tensor,
        cues: CueLatents | None,
    ) -> Start:
        """Tokens of reference and clip, text tokens, times, positions and the clip's cue streams."""
        volume = torch.cat([reference_latents[:, :1], noisy_latents], dim=1).transpose(1, 2)
        _, lf, _, lh, lw = noisy_latents.shape
        tokens = self.patch_embedding(volume).flatten(2).transpose(1, 2).contiguous()
        times, words = self._times(timestep, text, self._cells(lh, lw), lf)
        return tokens, words, times, self.rope(volume), None if cues is None else self._streams(cues)

    def _finish(self, hidden: Float[Tensor, "b n d"], times: WanTimes, shape: torch.Size) -> Tensor:
        """Diffusers' last layer, its axes turned to ours, without the reference's frame."""
        shift, scale = (self.scale_shift_table.unsqueeze(0) + times.out.unsqueeze(2)).unbind(dim=2)
        out = self.proj_out((self.norm_out(hidden.float()) * (1 + scale) + shift).type_as(hidden))
        b, lf, c, lh, lw = shape
        _, p, _ = self.pose_embed.patch
        cells = out.view(b, 1 + lf, lh // p, lw // p, p, p, c).permute(0, 1, 6, 2, 4, 3, 5)
        return cells.reshape(b, 1 + lf, c, lh, lw)[:, 1:]

    def _of_clip(self, hidden: Float[Tensor, "b n d"], shape: torch.Size) -> Tensor:
        return hidden[:, self._cells(shape[3], shape[4]) :]
