"""Fusion by concatenation: the cues are joined to the channels of the input, and told once, before the first block."""

from jaxtyping import Float
from torch import Tensor

from directanimator.model.cue_streams import CueBlock, Rotary, Streams, Told


class CueConcatBlock(CueBlock):
    """CogVideoX's block; the first one, which alone is given streams, adds them as they are to its video tokens.

    A linear map of joined channels is the sum of one map for each, so this is a patch embedding widened by the cues'
    channels, whose new weights are those of the cue embeddings. With init=zero these start at zero.
    Source: Beyond Skeletons, table 5, DC (concatenation to the latent). Deviation: what exactly is concatenated is not
    stated; here latents and mask of both cues."""

    embeds_as_base = False
    streams_made = 0

    def __init__(self, width: int, num_heads: int, head_dim: int, time_embed_dim: int) -> None:
        super().__init__(width, num_heads, head_dim, time_embed_dim, attention_bias=True)

    def fused(
        self,
        hidden: Float[Tensor, "b n d"],
        text: Float[Tensor, "b m d"],
        temb: Float[Tensor, "b e"],
        rotary: Rotary | None,
        streams: Streams,
    ) -> Told:
        """Video and text tokens after the block; no further block is given streams."""
        for stream in streams:
            hidden = hidden + stream.tokens * stream.present
        return *self.plain(hidden, text, temb, rotary), None
