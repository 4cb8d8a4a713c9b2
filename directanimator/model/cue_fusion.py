"""The CueFusion transformer: CogVideoX's video transformer whose blocks are modulated by two streams of driving cues.

In the order of the paper's figure: modulation, block, transformer. Equations (1) to (3) are in `CueModulation`; what
the blocks are given in `cue_streams`; other blocks that fuse the cues in `cue_concat` and `cue_attention`; what is not
CogVideoX's own in `backbone`, and the same blocks on Wan in `wan_fusion`. Knows nothing of pixels, noise schedules or
training.
"""

from typing import Any, ClassVar

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from directanimator.model.backbone import CueBackbone, Start
from directanimator.model.cue_attention import CueAttentionBlock
from directanimator.model.cue_concat import CueConcatBlock
from directanimator.model.cue_streams import (
    CueBlock,
    CueEmbed,
    CueLatents,
    CueStream,
    Rotary,
    Streams,
    Told,
)
from directanimator.model.spec import CueCarry, CueEntry, CueInit, Fusion

CUE_PARAMETERS = ("pose_embed.", "face_embed.", "cue_time.", ".cues.")
"""What the names of all parameters that the base does not have contain."""


class CueModulation(nn.Module):
    """Modulated cue tokens for one block, and the cue handed on to the next.

    Source: Beyond Skeletons, CueFusion DiT block, equations (1) to (3). Deviation: with init=zero the affine weights of
    the norms and the modulation start at zero, since alpha = beta = 0 alone would still add the plain norm."""

    def __init__(self, time_embed_dim: int, width: int, init: CueInit, carry: CueCarry = "gated") -> None:
        super().__init__()
        self.carry = carry
        self.linear = nn.Linear(time_embed_dim, 6 * width)
        self.norm_pose = nn.LayerNorm(width)
        self.norm_face = nn.LayerNorm(width)
        if init == "zero":
            for parameter in self.parameters():
                nn.init.zeros_(parameter)

    def forward(self, streams: Streams, temb: Float[Tensor, "b e"]) -> tuple[Float[Tensor, "b n d"], Streams]:
        """What is added to the video tokens, and the streams for the next block."""
        modulation = self.linear(F.silu(temb))[:, None].chunk(6, dim=-1)  # (1)
        pose, next_pose = _modulate(streams.pose, self.norm_pose, self.carry, *modulation[:3])
        face, next_face = _modulate(streams.face, self.norm_face, self.carry, *modulation[3:])
        added = torch.addcmul(pose * streams.pose.present, face, streams.face.present)
        return added, Streams(next_pose, next_face)


def _modulate(
    stream: CueStream, norm: nn.Module, carry: CueCarry, alpha: Tensor, beta: Tensor, gamma: Tensor
) -> tuple[Tensor, CueStream]:
    """Modulated tokens, whether present or not, and the stream for the next block.

    Some devices take norms in float32 under autocast; what follows stays in the precision of the tokens. Products are
    added as they are made: a pass over the tokens costs as much as a product of theirs."""
    modulated = torch.addcmul(beta, norm(stream.tokens).type_as(stream.tokens), 1 + alpha)  # (2)
    base = modulated if carry == "modulated" else stream.tokens
    carried = base + modulated if carry == "ungated" else torch.addcmul(base, gamma, modulated)  # (3)
    return modulated, CueStream(carried, stream.present)


class CueFusionBlock(CueBlock):
    """CogVideoX's block with the modulated cues added to the video tokens before the joint attention.

    Source: Beyond Skeletons, CueFusion DiT block: added to the embeddings before the 3D full attention. Which tokens
    that means is not stated. entry=attention: the normalized ones that the attention reads (as DynamiCtrl does), so a
    token hears its own cue only by attending to itself. entry=residual: the residual stream, so it hears it at once."""

    embeds_as_base = True
    streams_made = 2

    def __init__(
        self,
        width: int,
        num_heads: int,
        head_dim: int,
        time_embed_dim: int,
        cue_init: CueInit,
        cue_entry: CueEntry,
        cue_carry: CueCarry,
    ) -> None:
        super().__init__(width, num_heads, head_dim, time_embed_dim, attention_bias=True)
        self.cues = CueModulation(time_embed_dim, width, cue_init, cue_carry)
        self.cue_entry = cue_entry

    def fused(
        self,
        hidden: Float[Tensor, "b n d"],
        text: Float[Tensor, "b m d"],
        temb: Float[Tensor, "b e"],
        rotary: Rotary | None,
        streams: Streams,
    ) -> Told:
        """Video tokens, text tokens and modulated cue streams after the block."""
        added, streams = self.cues(streams, temb)
        if self.cue_entry == "residual":
            return *self.plain(hidden + added, text, temb, rotary), streams
        normed, normed_text, gate, text_gate = self.norm1(hidden, text, temb)
        attended, attended_text = self.attn1(
            hidden_states=normed + added, encoder_hidden_states=normed_text, image_rotary_emb=rotary
        )
        hidden, text = hidden + gate * attended, text + text_gate * attended_text
        normed, normed_text, gate, text_gate = self.norm2(hidden, text, temb)
        fed = self.ff(torch.cat([normed_text, normed], dim=1))
        split = text.shape[1]
        return hidden + gate * fed[:, split:], text + text_gate * fed[:, :split], streams


class CueFusionTransformer(CueBackbone, CogVideoXTransformer3DModel):  # type: ignore[misc]  # as in CueBackbone
    """CogVideoX's image-to-video transformer with CueFusion blocks; with zero init equal to it bit for bit."""

    _no_split_modules = [  # noqa: RUF012  # diffusers' own declaration
        "CueFusionBlock",
        "CueConcatBlock",
        "CueAttentionBlock",
        "CogVideoXPatchEmbed",
    ]
    low_rank_layers: ClassVar[str] = (
        r"transformer_blocks\.\d+\.(attn1\.(to_q|to_k|to_v|to_out\.0)|ff\.net\.(0\.proj|2))"
    )
    stated: ClassVar[tuple[str, ...]] = (
        "num_attention_heads",
        "attention_head_dim",
        "in_channels",
        "out_channels",
        "num_layers",
        "patch_size",
        "patch_size_t",
        "time_embed_dim",
        "text_embed_dim",
        "ofs_embed_dim",
        "use_rotary_positional_embeddings",
        "use_learned_positional_embeddings",
    )

    @register_to_config
    def __init__(
        self,
        num_attention_heads: int = 4,
        attention_head_dim: int = 64,
        in_channels: int = 256,
        out_channels: int = 128,
        num_layers: int = 6,
        patch_size: int = 1,
        patch_size_t: int | None = None,
        patch_bias: bool = True,
        time_embed_dim: int = 64,
        text_embed_dim: int = 32,
        max_text_seq_length: int = 2,
        ofs_embed_dim: int | None = None,
        use_rotary_positional_embeddings: bool = True,
        use_learned_positional_embeddings: bool = False,
        cue_init: CueInit = "zero",
        cue_entry: CueEntry = "residual",
        cue_carry: CueCarry = "gated",
        cue_fusion: Fusion = "adaln",
    ) -> None:
        super().__init__(
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            in_channels=in_channels,
            out_channels=out_channels,
            num_layers=num_layers,
            patch_size=patch_size,
            patch_size_t=patch_size_t,
            patch_bias=patch_bias,
            time_embed_dim=time_embed_dim,
            text_embed_dim=text_embed_dim,
            max_text_seq_length=max_text_seq_length,
            ofs_embed_dim=ofs_embed_dim,
            use_rotary_positional_embeddings=use_rotary_positional_embeddings,
            use_learned_positional_embeddings=use_learned_positional_embeddings,
        )
        if use_learned_positional_embeddings:
            self.patch_embed.pos_embedding = self.patch_embed.pos_embedding.float()  # diffusers makes it in fp64
        width = num_attention_heads * attention_head_dim
        self.pose_embed = CueEmbed(out_channels, width, patch_size, patch_size_t)
        self.face_embed = CueEmbed(out_channels, width, patch_size, patch_size_t)
        shape = (width, num_attention_heads, attention_head_dim, time_embed_dim)

        def block() -> CueBlock:
            match cue_fusion:
                case "adaln":
                    return CueFusionBlock(*shape, cue_init, cue_entry, cue_carry)
                case "concat":
                    return CueConcatBlock(*shape)
                case "cross_attention":
                    return CueAttentionBlock(*shape, cue_init)

        self.transformer_blocks = nn.ModuleList(block() for _ in range(num_layers))

    @property
    def cue_blocks(self) -> nn.ModuleList:
        """The blocks, in order."""
        return self.transformer_blocks

    def base_embedding(self) -> Float[Tensor, "d c pt p p"]:
        """How the base reads noisy latents, without its bias."""
        weight = self.patch_embed.proj.weight
        p_t, p, _ = self.pose_embed.patch
        if weight.ndim == 2:
            weight = weight.unflatten(1, (-1, p_t, p, p))
        return weight.view(weight.shape[0], -1, p_t, p, p)[:, : self.latent_channels]

    @property
    def _block(self) -> CueBlock:
        block = self.transformer_blocks[0]
        assert isinstance(block, CueBlock)
        return block

    @property
    def embeds_as_base(self) -> bool:
        """Whether the cue embeddings start as the base's own; else they are what starts at zero."""
        return self._block.embeds_as_base

    def tokens_handed_on(self, frames: int, height: int, width: int, words: int) -> int:
        """Tokens of a clip that every block makes anew and hands on, for a latent grid and a number of text tokens."""
        p_t, p, _ = self.pose_embed.patch
        tokens = -(-frames // p_t) * (height // p) * (width // p)
        return (1 + self._block.streams_made) * tokens + words

    def _time_embedding(self, timestep: Tensor, dtype: torch.dtype) -> Float[Tensor, "b e"]:
        embedding: Tensor = self.time_embedding(self.time_proj(timestep).to(dtype))
        if self.ofs_embedding is not None:
            offset = timestep.new_full((1,), 2)  # the value CogVideoX1.5's own pipeline passes
            embedding = embedding + self.ofs_embedding(self.ofs_proj(offset).to(dtype))  # type: ignore[misc]  # as above
        return embedding

    def rotary(self, lf: int, lh: int, lw: int, device: torch.device) -> Rotary | None:
        """Rotary positions of a latent grid, as CogVideoX's own pipelines make them."""
        if not self.config["use_rotary_positional_embeddings"]:
            return None
        p_t, p, _ = self.pose_embed.patch
        grid = (lh // p, lw // p)
        if self.config["use_learned_positional_embeddings"]:
            from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid  # slow

            _, height, width = self._trained_grid()
            crops, kind, largest = get_resize_crop_region_for_grid(grid, width, height), "linspace", None
        elif self.config["patch_size_t"] is None:
            crops, kind, largest = ((0, 0), grid), "linspace", None
        else:
            crops, kind, largest = None, "slice", grid
        cos, sin = get_3d_rotary_pos_embed(
            self.config["attention_head_dim"], crops, grid, lf // p_t, grid_type=kind, max_size=largest, device=device
        )
        return cos, sin

    def _trained_grid(self) -> tuple[int, int, int]:
        """Frames, rows and columns of tokens that the learned positions were trained on."""
        frames = (self.config["sample_frames"] - 1) // self.config["temporal_compression_ratio"] + 1
        p = self.config["patch_size"]
        return frames, self.config["sample_height"] // p, self.config["sample_width"] // p

    def _learned_positions(self, grid: tuple[int, int, int]) -> Float[Tensor, "1 n d"]:
        """The learned table on a grid of tokens: the text's rows, then the video's.

        Deviation: on another grid than the trained one, which diffusers refuses, the table is resampled linearly."""
        table = self.patch_embed.pos_embedding
        assert isinstance(table, Tensor)  # a buffer
        if grid == self._trained_grid():
            return table
        split = self.config["max_text_seq_length"]
        volume = table[:, split:].unflatten(1, self._trained_grid()).movedim(-1, 1)
        resampled = F.interpolate(volume.float(), grid, mode="trilinear", align_corners=False)
        return torch.cat([table[:, :split], resampled.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)

    def _embedded(
        self, text: Float[Tensor, "b m t"], stacked: Float[Tensor, "b lf c2 lh lw"]
    ) -> Float[Tensor, "b mn d"]:
        """Text tokens, then video tokens."""
        embed = self.patch_embed
        if not self.config["use_learned_positional_embeddings"]:
            return embed(text, stacked)
        cells = embed.proj(stacked.flatten(0, 1)).unflatten(0, stacked.shape[:2])  # frames, channels, rows, columns
        grid = (cells.shape[1], cells.shape[3], cells.shape[4])
        tokens = torch.cat([embed.text_proj(text), cells.movedim(2, -1).flatten(1, 3)], dim=1)
        return tokens + self._learned_positions(grid).to(tokens.dtype)

    def _start(
        self,
        noisy_latents: Tensor,
        reference_latents: Tensor,
        text: Tensor,
        timestep: Tensor,
        cues: CueLatents | None,
    ) -> Start:
        """Video tokens, text tokens, time embedding, positions and cue streams before the first block.

        Raises: ValueError unless the latent frames fill temporal patches."""
        frames, patch = noisy_latents.shape[1], self.pose_embed.patch[0]
        if frames % patch:
            raise ValueError(f"expected latent frames in multiples of {patch}, got {frames}; pad them before the noise")
        stacked = torch.cat([noisy_latents, reference_latents], dim=2)
        tokens = self.embedding_dropout(self._embedded(text, stacked))
        temb = self._time_embedding(timestep, noisy_latents.dtype)
        _, lf, _, lh, lw = stacked.shape
        rotary = self.rotary(lf, lh, lw, stacked.device)
        streams = None if cues is None else self._streams(cues)
        split = text.shape[1]
        return tokens[:, split:], tokens[:, :split], temb, rotary, streams

    def _unpatchify(self, tokens: Float[Tensor, "b n o"], shape: torch.Size) -> Float[Tensor, "b lf c lh lw"]:
        b, lf, _, lh, lw = shape
        p_t, p, _ = self.pose_embed.patch
        order = (-1, p, p) if self.config["patch_size_t"] is None else (-1, p_t, p, p)
        cells = tokens.unflatten(2, order).unflatten(1, (lf // p_t, lh // p, lw // p))
        if self.config["patch_size_t"] is None:
            return cells.permute(0, 1, 4, 2, 5, 3, 6).reshape(b, lf, -1, lh, lw)
        return cells.permute(0, 1, 5, 4, 2, 6, 3, 7).reshape(b, lf, -1, lh, lw)

    def _finish(self, hidden: Float[Tensor, "b n d"], times: Any, shape: torch.Size) -> Tensor:
        return self._unpatchify(self.proj_out(self.norm_out(self.norm_final(hidden), temb=times)), shape)
