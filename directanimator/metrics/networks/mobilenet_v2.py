"""MobileNetV2 trained on ImageNet: features of `fid_mobilenetv2` and `lpips_mobilenetv2`."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from directanimator.assets import asset
from directanimator.errors import UserError
from directanimator.metrics.networks.folding import folded

SIDE = 224
WIDTH = 1280
TAPS = (1, 3, 6, 13, 17)
"""Blocks whose features the perceptual distance compares: the last of each resolution."""
BATCH = 16
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class MobileNetV2Features(nn.Module):
    """The convolutional part of torchvision's network. In evaluation mode, without gradients.

    Source: Sandler et al. 2018; weights of torchvision."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.blocks: nn.Sequential = mobilenet_v2(weights=None).features
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION)[:, None, None], persistent=False)

    @classmethod
    def from_file(cls, path: Path) -> "MobileNetV2Features":
        """The network with the weights of a torchvision state dictionary.

        Raises: UserError if the file holds other weights."""
        net = cls()
        stored = torch.load(path, map_location="cpu", weights_only=True)
        try:
            net.blocks.load_state_dict(
                {key.removeprefix("features."): value for key, value in stored.items() if key.startswith("features.")}
            )
        except (AttributeError, RuntimeError) as problem:
            raise UserError(f"{path}: not the weights of MobileNetV2: {str(problem).splitlines()[0]}") from problem
        return folded(net)

    @classmethod
    def fetched(cls) -> "MobileNetV2Features":
        """The network with the fetched weights.

        Raises: UserError if they have not been fetched."""
        return cls.from_file(asset("mobilenet_v2"))

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b c h2 w2"]]:
        """The maps of all blocks, stem first; pixels are RGB in [0, 1]."""
        maps, net = [], (pixels - self.mean) / self.deviation
        for block in self.blocks:
            net = block(net)
            maps.append(net)
        return maps


@torch.no_grad()
def pooled_features(net: MobileNetV2Features, frames: UInt8[np.ndarray, "f h w 3"]) -> Float32[np.ndarray, "f 1280"]:
    """One feature vector per frame, the mean of the last map; each frame is resized whole to 224 x 224.

    Bilinear with antialiasing, as a picture shrinks for a person."""
    parts = []
    for start in range(0, len(frames), BATCH):
        pixels = to_unit(frames[start : start + BATCH])
        small = F.interpolate(pixels, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
        parts.append(net(small)[-1].mean(dim=(2, 3)))
    return torch.cat(parts).numpy()


def to_unit(frames: np.ndarray) -> Float[Tensor, "f 3 h w"]:
    """Frames in 0..255 as a tensor in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255
