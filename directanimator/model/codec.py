"""Video codecs behind one protocol: pixels to latents and back, in the causal layout of CogVideoX's VAE.

The first latent frame holds the first video frame alone, each further one a group of four. The embedded codec is made
for a CPU: a linear transform of space-time patches, fitted in closed form, and a small convolutional decoder that
repairs what the transform leaves out. Knows nothing of people, cues or diffusion.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

GROUP = 4
"""Video frames per latent frame, after the first."""
PATCH = 8
"""Pixels per latent cell and side."""


@runtime_checkable
class VideoCodec(Protocol):
    """What the rest of the library needs of a codec."""

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        ...

    @property
    def cell(self) -> int:
        """Pixels per latent cell and side."""
        ...

    def encode(self, video: Float[Tensor, "b f 3 h w"]) -> Float[Tensor, "b lf c lh lw"]:
        """Latents of unit scale for video in [-1, 1]."""
        ...

    def encode_reference(self, image: Float[Tensor, "b 1 3 h w"]) -> Float[Tensor, "b 1 c lh lw"]:
        """Latents of a reference image, scaled as the transformer reads them."""
        ...

    def decode(self, latents: Float[Tensor, "b lf c lh lw"]) -> Float[Tensor, "b f 3 h w"]:
        """Video in [-1, 1] for latents of unit scale."""
        ...

    def __hash__(self) -> int:
        """By identity: what follows from a codec can be kept beside it."""
        ...


def to_video(frames: UInt8[np.ndarray, "*b f h w 3"]) -> Float[Tensor, "b f 3 h w"]:
    """Float video in [-1, 1] of byte frames, with a batch axis of 1 if there was none."""
    batched = torch.tensor(frames).reshape(-1, *frames.shape[-4:])
    return batched.movedim(-1, 2).float() / 127.5 - 1


def to_frames(video: Float[Tensor, "b f 3 h w"]) -> UInt8[np.ndarray, "b f h w 3"]:
    """Byte frames of video in [-1, 1]."""
    scaled = ((video.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return scaled.movedim(2, -1).contiguous().numpy()


def to_groups(video: Float[Tensor, "b f 3 h w"]) -> Float[Tensor, "b lf g 3 h w"]:
    """Groups of four frames; the first frame is repeated to fill a group of its own, as causal video VAEs pad.

    Raises: ValueError unless f = 4k + 1."""
    if video.shape[1] % GROUP != 1:
        raise ValueError(f"expected 4k + 1 frames, got {video.shape[1]}; trim or pad the clip")
    padded = torch.cat([video[:, :1].expand(-1, GROUP - 1, -1, -1, -1), video], dim=1)
    return padded.unflatten(1, (-1, GROUP))


def from_groups(groups: Float[Tensor, "b lf g 3 h w"]) -> Float[Tensor, "b f 3 h w"]:
    """The video of the groups; the first group is averaged to the one frame it stands for."""
    first = groups[:, :1].mean(dim=2)
    return torch.cat([first, groups[:, 1:].flatten(1, 2)], dim=1)


def to_patches(groups: Float[Tensor, "b lf g 3 h w"]) -> Float[Tensor, "b lf lh lw p"]:
    """Space-time patches of 4 x 8 x 8 pixels as vectors.

    Raises: ValueError unless h and w are multiples of 8."""
    b, lf, g, c, h, w = groups.shape
    if h % PATCH or w % PATCH:
        raise ValueError(f"expected sides in multiples of {PATCH}, got {h} x {w}; resize the clip")
    cells = groups.reshape(b, lf, g, c, h // PATCH, PATCH, w // PATCH, PATCH)
    return cells.permute(0, 1, 4, 6, 2, 3, 5, 7).flatten(4)


def from_patches(patches: Float[Tensor, "b lf lh lw p"]) -> Float[Tensor, "b lf g 3 h w"]:
    """Inverse of `to_patches`."""
    b, lf, lh, lw, _ = patches.shape
    cells = patches.reshape(b, lf, lh, lw, GROUP, 3, PATCH, PATCH)
    return cells.permute(0, 1, 4, 5, 2, 6, 3, 7).reshape(b, lf, GROUP, 3, lh * PATCH, lw * PATCH)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a skip; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(width, width, 3, padding=1)
        self.leave = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]  # Conv2d(bias=True) always has one

    def forward(self, features: Float[Tensor, "i d h w"]) -> Float[Tensor, "i d h w"]:
        """Features of the same shape."""
        out: Tensor = features + self.leave(F.silu(self.enter(F.silu(features))))
        return out


def _unshuffled(groups: Float[Tensor, "b lf g 3 h w"], factor: int) -> Float[Tensor, "i d hs ws"]:
    """The four frames of each group stacked on the channels, at 1 / factor of their size."""
    stacked = F.pixel_unshuffle(groups.flatten(0, 1).flatten(1, 2), factor)
    return stacked.contiguous(memory_format=torch.channels_last)


class Repair(nn.Module):
    """Groups of frames repaired from the linear inverse and the latents it came from; starts as no change.

    Works at a quarter, then at half of the frames' size; the four frames of a group are repaired together."""

    def __init__(self, latent_channels: int, width: int, num_blocks: int) -> None:
        super().__init__()
        half = width // 2
        self.context = nn.Conv2d(latent_channels, width, 1)
        self.coarse_in = nn.Conv2d(GROUP * 3 * 16 + width, width, 3, padding=1)
        self.coarse = nn.Sequential(*[ResidualBlock(width) for _ in range(num_blocks)])
        self.rise = nn.Conv2d(width, 4 * half, 1)
        self.fine_in = nn.Conv2d(GROUP * 3 * 4 + half, half, 3, padding=1)
        self.fine = nn.Sequential(*[ResidualBlock(half) for _ in range(num_blocks // 2)])
        self.out = nn.Conv2d(half, GROUP * 3 * 4, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]  # Conv2d(bias=True) always has one

    def forward(
        self, groups: Float[Tensor, "b lf g 3 h w"], latents: Float[Tensor, "b lf c lh lw"]
    ) -> Float[Tensor, "b lf g 3 h w"]:
        """The groups with the repair added."""
        context = F.interpolate(self.context(latents.flatten(0, 1)), scale_factor=float(PATCH // 4), mode="nearest")
        coarse = self.coarse(self.coarse_in(torch.cat([_unshuffled(groups, 4), context], dim=1)))
        rise = F.pixel_shuffle(self.rise(F.silu(coarse)), 2)
        fine = self.fine(self.fine_in(torch.cat([_unshuffled(groups, 2), rise], dim=1)))
        repair: Tensor = F.pixel_shuffle(self.out(F.silu(fine)), 2)
        return groups + repair.view_as(groups)


class PatchCodec(ModelMixin, ConfigMixin):  # type: ignore[misc]  # both declare config_name
    """The embedded codec: linear space-time patches, scaled between raw and white, and a network that repairs them.

    The encoder stays linear: trained against noise on its latents, a network there learns to shout over the noise, and
    latents that are nearly white are hard to denoise.
    Deviation: CogVideoX has a convolutional VAE; on two CPU cores a network of that class reached 18 dB where a linear
    transform reaches 29 dB at once."""

    mean: Tensor
    basis: Tensor
    scale: Tensor

    @register_to_config
    def __init__(self, latent_channels: int = 128, width: int = 128, num_blocks: int = 4) -> None:
        super().__init__()
        patch_dim = GROUP * 3 * PATCH * PATCH
        self.register_buffer("mean", torch.zeros(patch_dim))
        self.register_buffer("basis", torch.zeros(patch_dim, latent_channels))
        self.register_buffer("scale", torch.ones(latent_channels))
        self.repair = Repair(latent_channels, width, num_blocks)

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return self.basis.shape[1]

    @property
    def cell(self) -> int:
        """Pixels per latent cell and side."""
        return PATCH

    @torch.no_grad()
    def fit(self, patches: Float[Tensor, "m p"], whitening: float = 0.5) -> "PatchCodec":
        """This codec with the linear part fitted: principal components, divided by variance ** (whitening / 2).

        Half white: raw components spend the model's error budget on brightness alone, white ones on noise."""
        mean = patches.mean(dim=0)
        centered = (patches - mean).double()
        variance, vectors = torch.linalg.eigh(centered.T @ centered / len(patches))
        top = variance.flip(0)[: self.latent_channels].clamp(min=1e-8)
        relative = top ** ((1 - whitening) / 2)
        self.mean.copy_(mean)
        self.basis.copy_(vectors.flip(1)[:, : self.latent_channels])
        self.scale.copy_(top ** (whitening / 2) * relative.square().mean().sqrt())
        return self

    def encode(self, video: Float[Tensor, "b f 3 h w"]) -> Float[Tensor, "b lf c lh lw"]:
        """Latents of unit mean square over the training clips, for video in [-1, 1].

        Raises: ValueError unless f = 4k + 1 and the sides are multiples of 8."""
        tokens = (to_patches(to_groups(video)) - self.mean) @ self.basis / self.scale
        return tokens.permute(0, 1, 4, 2, 3)

    def encode_reference(self, image: Float[Tensor, "b 1 3 h w"]) -> Float[Tensor, "b 1 c lh lw"]:
        """Latents of a reference image: those of a video of one frame."""
        return self.encode(image)

    def linear_decode(self, latents: Float[Tensor, "b lf c lh lw"]) -> Float[Tensor, "b lf g 3 h w"]:
        """Groups of frames from the linear inverse alone."""
        tokens = latents.permute(0, 1, 3, 4, 2)
        return from_patches((tokens * self.scale) @ self.basis.T + self.mean)

    def repaired_groups(self, latents: Float[Tensor, "b lf c lh lw"]) -> Float[Tensor, "b lf g 3 h w"]:
        """Groups of frames after the repair, not clipped: what the codec's training compares."""
        out: Tensor = self.repair(self.linear_decode(latents), latents)
        return out

    def decode(self, latents: Float[Tensor, "b lf c lh lw"]) -> Float[Tensor, "b f 3 h w"]:
        """Video in [-1, 1]."""
        return from_groups(self.repaired_groups(latents)).clamp(-1, 1)

    def forward(
        self, video: Float[Tensor, "b f 3 h w"], latent_noise: Float[Tensor, "b lf c lh lw"]
    ) -> Float[Tensor, "b lf g 3 h w"]:
        """Reconstructed groups from latents with noise added: the pass that trains the decoder.

        Noise makes it forgive what a sampler gets wrong."""
        return self.repaired_groups(self.encode(video) + latent_noise)
