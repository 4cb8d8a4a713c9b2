"""AlexNet with LPIPS's learned weights of its channels: the standard perceptual distance."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor, nn
from torchvision.models import alexnet

from directanimator.errors import UserError
from directanimator.metrics.local_weights import ALEXNET, LPIPS_WEIGHTS
from directanimator.metrics.perceptual import perceptual_distance
from directanimator.weight_files import reason, stored_tensors

TAPS = (1, 4, 7, 9, 11)
"""Layers of torchvision's AlexNet whose output is compared: each ReLU."""
CHANNELS = (64, 192, 384, 256, 256)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
MIN_SIDE = 31
"""Smaller frames leave nothing to the last pooling."""


class LpipsAlexNet(nn.Module):
    """AlexNet's five maps and a weight per channel. In evaluation mode, without gradients.

    Source: Zhang et al. 2018, version 0.1 of the weights, net `alex`."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):  # most of AlexNet is its classifier, which is never needed
            layers = alexnet(weights=None).features[: TAPS[-1] + 1]
        self.layers: nn.Sequential = layers.to_empty(device="cpu")
        for index, layer in enumerate(self.layers):
            if isinstance(layer, nn.ReLU):
                self.layers[index] = nn.ReLU()  # the maps are kept, so none is written over
        self.weights = nn.ParameterList([torch.ones(channels) for channels in CHANNELS])
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None], persistent=False)

    @classmethod
    def from_files(cls, network: Path, weights: Path) -> "LpipsAlexNet":
        """The network with torchvision's AlexNet and LPIPS's linear layers.

        Raises: UserError if a file holds other weights."""
        net = cls()
        features = {
            name.removeprefix("features."): value
            for name, value in stored_tensors(network).items()
            if name.startswith("features.")
        }
        try:
            net.layers.load_state_dict(features)
        except RuntimeError as problem:
            raise UserError(f"{network}: not the weights of AlexNet: {reason(problem)}") from problem
        stored = stored_tensors(weights)
        for index, channels in enumerate(CHANNELS):
            found = stored.get(f"lin{index}.model.1.weight")
            if found is None or found.numel() != channels:
                raise UserError(f"{weights}: not LPIPS's weights of AlexNet: lin{index} is missing or of another size")
            net.weights[index] = nn.Parameter(found.flatten().float())
        return net.eval().requires_grad_(False)

    @classmethod
    def local(cls) -> "LpipsAlexNet":
        """The network with the weights that lie in the directory of weights.

        Raises: UserError if a file is missing."""
        return cls.from_files(ALEXNET.path(), LPIPS_WEIGHTS.path())

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The maps after each ReLU; pixels are RGB in [0, 1]."""
        maps, net = [], (2 * pixels - 1 - self.shift) / self.scale
        for index, layer in enumerate(self.layers):
            net = layer(net)
            if index in TAPS:
                maps.append(net)
        return maps


def lpips(net: LpipsAlexNet, generated: Real[np.ndarray, "f h w 3"], target: Real[np.ndarray, "f h w 3"]) -> float:
    """LPIPS, mean over frames at their own size, >= 0; 0 for equal frames.

    Raises: ValueError if the shapes differ, a side is shorter than 31 pixels, or a frame is not finite."""
    if min(target.shape[1:3]) < MIN_SIDE:
        raise ValueError(f"LPIPS needs frames of at least {MIN_SIDE} pixels, got {target.shape[1:3]}")
    return perceptual_distance(net, generated, target, list(net.weights))
