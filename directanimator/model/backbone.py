"""What a video transformer with CueFusion blocks is to the rest of the library, whichever backbone is inside.

Latents come and go as (clip, latent frame, channel, row, column). The order of axes, how the reference enters, and what
a block is, are the backbone's own: CogVideoX in `cue_fusion`, Wan in `wan_fusion`."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.loaders.peft import PeftAdapterMixin
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Bool, Float, Real
from torch import Tensor, nn

from directanimator.model.cue_streams import CueEmbed, CueLatents, CueStream, Streams


@dataclass(frozen=True)
class CueFusionOutput:
    """Prediction and, when asked for, hidden video tokens."""

    velocity: Float[Tensor, "b lf c lh lw"]
    """What the backbone predicts of noisy latents: CogVideoX v, Wan the flow's velocity."""
    features: Float[Tensor, "b n d"] | None
    """Video tokens after block D, the residual stream itself."""


Start = tuple[Float[Tensor, "b n d"], Float[Tensor, "b m d"], Any, Any, Streams | None]
"""Video tokens, text tokens, and what all blocks are told: times, positions (each in the backbone's own form) and cue
streams."""


class CueBackbone(ModelMixin, ConfigMixin, PeftAdapterMixin):  # type: ignore[misc]  # both declare config_name
    """A video transformer whose blocks are given two streams of driving cues; with zero init its base bit for bit.

    A kind of it names its base's class after this one, and says what is below its own."""

    pose_embed: CueEmbed
    face_embed: CueEmbed
    gradient_checkpointing: bool

    low_rank_layers: ClassVar[str]
    """Pattern of the names of the linear layers over which low-rank updates are laid."""
    stated: ClassVar[tuple[str, ...]]
    """Settings that a published transformer must share with the model, some of which shapes do not tell."""

    @property
    def cue_blocks(self) -> nn.ModuleList:
        """The blocks, in order."""
        raise NotImplementedError

    @property
    def embeds_as_base(self) -> bool:
        """Whether the cue embeddings start as the base's own; else they are what starts at zero."""
        raise NotImplementedError

    def base_embedding(self) -> Float[Tensor, "d c pt p p"]:
        """How the base reads noisy latents, without its bias."""
        raise NotImplementedError

    def tokens_handed_on(self, frames: int, height: int, width: int, words: int) -> int:
        """Tokens of a clip that every block makes anew and hands on, for a latent grid and a number of text tokens."""
        raise NotImplementedError

    def _start(
        self,
        noisy_latents: Tensor,
        reference_latents: Tensor,
        text: Tensor,
        timestep: Tensor,
        cues: CueLatents | None,
    ) -> Start:
        """What the first block is given."""
        raise NotImplementedError

    def _finish(self, hidden: Float[Tensor, "b n d"], times: Any, shape: torch.Size) -> Tensor:
        """The velocity of latents of a shape, from the tokens after the last block."""
        raise NotImplementedError

    def _of_clip(self, hidden: Float[Tensor, "b n d"], shape: torch.Size) -> Tensor:
        """The tokens that stand for a clip of a shape; by default all."""
        return hidden

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return int(self.config["out_channels"])

    @torch.no_grad()
    def start_cues_from_base(self) -> None:
        """Nothing; the cue embeddings read latents as the base reads noisy latents, and ignore the mask at first.

        Where the embeddings are all that stands between a cue and the video, they start as the spec's `cue_init` says:
        at zero, or as they are."""
        embeds = (self.pose_embed, self.face_embed)
        if self.embeds_as_base:
            for embed in embeds:
                _zero(embed)
                embed.proj.weight[:, : self.latent_channels].copy_(self.base_embedding())
        elif self.config["cue_init"] == "zero":
            for embed in embeds:
                _zero(embed)

    def _streams(self, cues: CueLatents) -> Streams:
        _, _, _, lh, lw = cues.pose.shape
        p_t, p, _ = self.pose_embed.patch
        cells = (lh // p) * (lw // p)

        def stream(tokens: Float[Tensor, "b n d"], present: Bool[Tensor, "b lf"]) -> CueStream:
            """In the precision of the tokens, which is that of the video tokens that they are added to."""
            frames = present.unflatten(1, (-1, p_t)).any(dim=2)
            return CueStream(tokens, frames.repeat_interleave(cells, dim=1).unsqueeze(-1).to(tokens.dtype))

        return Streams(
            stream(self.pose_embed(cues.pose, cues.body_mask), cues.pose_present),
            stream(self.face_embed(cues.face, cues.face_mask), cues.face_present),
        )

    def forward(
        self,
        noisy_latents: Float[Tensor, "b lf c lh lw"],
        reference_latents: Float[Tensor, "b lf c lh lw"],
        text: Float[Tensor, "b m t"],
        timestep: Real[Tensor, " b"],
        cues: CueLatents | None,
        features_after: int | None = None,
    ) -> CueFusionOutput:
        """Velocity of every latent frame and, with features_after=D, the video tokens after D blocks.

        Without cues this is the base model."""
        hidden, text, times, rotary, streams = self._start(noisy_latents, reference_latents, text, timestep, cues)
        features = None
        for done, block in enumerate(self.cue_blocks, start=1):
            if self.gradient_checkpointing and torch.is_grad_enabled():
                hidden, text, streams = self._gradient_checkpointing_func(  # type: ignore[misc]  # set when enabled
                    block, hidden, text, times, rotary, streams
                )
            else:
                hidden, text, streams = block(hidden, text, times, rotary, streams)
            if done == features_after:
                features = self._of_clip(hidden, noisy_latents.shape)
        return CueFusionOutput(self._finish(hidden, times, noisy_latents.shape), features)

    @torch.no_grad()
    def features(
        self,
        noisy_latents: Float[Tensor, "b lf c lh lw"],
        reference_latents: Float[Tensor, "b lf c lh lw"],
        text: Float[Tensor, "b m t"],
        timestep: Real[Tensor, " b"],
        cues: CueLatents | None,
        after: int,
    ) -> Float[Tensor, "b n d"]:
        """The video tokens after `after` blocks, without gradient; the blocks behind are not run."""
        hidden, text, times, rotary, streams = self._start(noisy_latents, reference_latents, text, timestep, cues)
        for block in self.cue_blocks[:after]:
            hidden, text, streams = block(hidden, text, times, rotary, streams)
        return self._of_clip(hidden, noisy_latents.shape)


def _zero(embed: CueEmbed) -> None:
    for parameter in embed.parameters():
        nn.init.zeros_(parameter)
