"""The Inception network of FID, from pytorch-fid's file of TensorFlow's weights."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torchvision.models import inception_v3
from torchvision.models.inception import InceptionE

from directanimator.errors import UserError
from directanimator.metrics.local_weights import INCEPTION
from directanimator.metrics.networks.folding import folded
from directanimator.weight_files import reason, stored_tensors

SIDE = 299
WIDTH = 2048
CLASSES = 1008
"""TensorFlow's network has 1008 classes; torchvision's, whose FID is another number, has 1000."""
BATCH = 16
_AVERAGED = ("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7b")
"""Blocks whose pooling averages over what lies inside the map alone, unlike torchvision's."""


class FidInception(nn.Module):
    """Features of FID. In evaluation mode, without gradients.

    Source: Heusel et al. 2017; pytorch-fid's weights, converted from TensorFlow's network of 2015-12-05."""

    def __init__(self) -> None:
        super().__init__()
        self.net: nn.Module = inception_v3(
            weights=None, aux_logits=False, init_weights=False, transform_input=False, num_classes=CLASSES
        )
        for name in _AVERAGED:
            self.net.get_submodule(name).get_submodule("branch_pool").register_forward_pre_hook(_over_the_inside)
        self.net.Mixed_7c = _MaxPooled(2048)

    @classmethod
    def from_file(cls, path: Path) -> "FidInception":
        """The network with the weights of a state dictionary.

        Raises: UserError if the file holds other weights, such as torchvision's."""
        net = cls()
        stored = stored_tensors(path)
        classes = len(stored["fc.bias"]) if "fc.bias" in stored else CLASSES
        if classes != CLASSES:
            raise UserError(
                f"{path}: an Inception network of {classes} classes, not FID's of {CLASSES}, whose values differ; "
                f"get that from {INCEPTION.page}"
            )
        wanted = {name: value for name, value in stored.items() if not name.startswith("AuxLogits.")}
        try:
            net.net.load_state_dict(wanted)
        except RuntimeError as problem:
            raise UserError(f"{path}: not the weights of FID's Inception: {reason(problem)}") from problem
        return folded(net)

    @classmethod
    def local(cls) -> "FidInception":
        """The network with the weights that lie in the directory of weights.

        Raises: UserError if they are missing."""
        return cls.from_file(INCEPTION.path())

    def forward(self, pixels: Float[Tensor, "b 3 299 299"]) -> Float[Tensor, "b 2048"]:
        """The mean of the last map; pixels are RGB in [-1, 1]."""
        last = pixels
        for name, block in self.net.named_children():
            if name in ("avgpool", "dropout", "fc"):
                break
            last = block(last)
        return last.mean(dim=(2, 3))


class _MaxPooled(InceptionE):  # type: ignore[misc]
    """The last block of TensorFlow's network, which pools by maximum where torchvision's averages."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h w"]:
        three, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        branches = [
            self.branch1x1(x),
            self.branch3x3_2a(three),
            self.branch3x3_2b(three),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(F.max_pool2d(x, kernel_size=3, stride=1, padding=1)),
        ]
        return torch.cat(branches, dim=1)


def _over_the_inside(_module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """A 3x3 average that counted the zeros around the map, as one that does not."""
    (averaged,) = inputs
    share = F.avg_pool2d(torch.ones_like(averaged[:1, :1]), kernel_size=3, stride=1, padding=1)
    return averaged / share


@torch.no_grad()
def inception_features(net: FidInception, frames: UInt8[np.ndarray, "f h w 3"]) -> Float32[np.ndarray, "f 2048"]:
    """One feature vector per frame, each resized whole to 299 x 299, bilinearly and without antialiasing.

    Source: pytorch-fid."""
    parts = []
    for start in range(0, len(frames), BATCH):
        pixels = torch.from_numpy(np.ascontiguousarray(frames[start : start + BATCH])).permute(0, 3, 1, 2).float()
        small = F.interpolate(pixels / 255, (SIDE, SIDE), mode="bilinear", align_corners=False)
        parts.append(net(2 * small - 1))
    return torch.cat(parts).numpy()
