"""Fusion by cross-attention: in every block the video tokens look the cues up."""

import torch
from diffusers.models.embeddings import apply_rotary_emb
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from directanimator.model.cue_streams import CueBlock, Rotary, Streams, Told
from directanimator.model.spec import CueInit


def _turned(heads: Float[Tensor, "b h n c"], rotary: Rotary) -> Float[Tensor, "b h n c"]:
    turned: Tensor = apply_rotary_emb(heads, rotary)  # type: ignore[arg-type, assignment]  # declared otherwise
    return turned


class CueAttention(nn.Module):
    """What video tokens learn of the cues: attention from them to the tokens of both streams, by place as by content.

    One more key, of zeros, stands for `nothing`: a cue that is absent is masked, and where none is present all that is
    left to attend to is nothing, which adds exactly zero.
    Source: Beyond Skeletons, table 5, CA. Deviation: how keys are made and how many heads there are is not stated; here
    as in the joint attention, with its positions and without its bias."""

    def __init__(self, width: int, num_heads: int, init: CueInit) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_norm = nn.LayerNorm(width)
        self.cue_norm = nn.LayerNorm(width)
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(width, width, bias=False) for _ in range(4))
        if init == "zero":
            nn.init.zeros_(self.to_out.weight)

    def forward(
        self, hidden: Float[Tensor, "b n d"], streams: Streams, rotary: Rotary | None
    ) -> Float[Tensor, "b n d"]:
        """What is added to the video tokens."""
        cues = self.cue_norm(torch.cat([stream.tokens for stream in streams], dim=1))
        query = self._heads(self.to_q(self.query_norm(hidden)))
        key, value = self._heads(self.to_k(cues)), self._heads(self.to_v(cues))
        if rotary is not None:
            cosines, sines = rotary
            query = _turned(query, (cosines, sines))
            key = _turned(key, (cosines.repeat(len(streams), 1), sines.repeat(len(streams), 1)))
        key, value = F.pad(key, (0, 0, 1, 0)), F.pad(value, (0, 0, 1, 0))
        seen = F.pad(torch.cat([stream.present for stream in streams], dim=1)[..., 0] > 0, (1, 0), value=True)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None])
        out: Tensor = self.to_out(found.transpose(1, 2).flatten(2))
        return out

    def _heads(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b h n c"]:
        return tokens.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


class CueAttentionBlock(CueBlock):
    """CogVideoX's block with a cross-attention to the cues before the joint attention; the cues stay what they are.

    With init=zero the output projection starts at zero."""

    embeds_as_base = True
    streams_made = 0

    def __init__(self, width: int, num_heads: int, head_dim: int, time_embed_dim: int, cue_init: CueInit) -> None:
        super().__init__(width, num_heads, head_dim, time_embed_dim, attention_bias=True)
        self.cues = CueAttention(width, num_heads, cue_init)

    def fused(
        self,
        hidden: Float[Tensor, "b n d"],
        text: Float[Tensor, "b m d"],
        temb: Float[Tensor, "b e"],
        rotary: Rotary | None,
        streams: Streams,
    ) -> Told:
        """Video tokens, text tokens and the streams as they were."""
        hidden = hidden + self.cues(hidden, streams, rotary)
        return *self.plain(hidden, text, temb, rotary), streams
