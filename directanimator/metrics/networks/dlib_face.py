"""dlib's face recognition network in torch: 128 numbers per face, near for one person and far for two."""

import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from directanimator.assets import asset
from directanimator.errors import UserError

CHIP = 150
"""Side of an aligned face, in pixels."""
WIDTH = 128
BATCH = 16
_MEAN_COLOR = (122.782, 117.001, 104.298)
_PADDING = 0.25
_EYES_AND_NOSE = np.array(
    [[0.8595674595992, 0.2134981538014], [0.6460604764104, 0.2289674387677], [0.1205750620789, 0.2137274526848],
     [0.3340850613712, 0.2290642403242], [0.4901123135679, 0.6277975316475]]
)  # fmt: skip
"""Where the outer and inner corner of the left eye, of the right eye, and the base of the nose lie in a chip without
padding, in shares of its side. Source: dlib, get_face_chip_details."""
MESH_POINTS = (263, 362, 33, 133, 2)
"""The same five among the 468 landmarks of MediaPipe's face mesh."""
_STAGES: tuple[tuple[int, int], ...] = ((32, 3), (64, 3), (128, 2), (256, 2))
"""Width and number of plain residual blocks."""


class DlibFace(nn.Module):
    """A residual network of 29 convolutions. In evaluation mode, without gradients of its weights.

    Source: dlib's dnn_face_recognition_ex; weights quantized to 8 bit by the package face-api."""

    mean_color: Tensor

    def __init__(self) -> None:
        super().__init__()
        blocks: dict[str, nn.Module] = {"conv32_down": _Scaled(3, 32, 7, stride=2)}
        before = 32
        for width, repeats in _STAGES:
            if width > before:
                blocks[f"conv{width}_down"] = _Shrinking(before, width)
            blocks |= {f"conv{width}_{index}": _Residual(width) for index in range(1, repeats + 1)}
            before = width
        self.blocks = nn.ModuleDict(blocks | {"conv256_down_out": _Shrinking(256, 256)})
        self.projection = nn.Linear(256, WIDTH, bias=False)
        self.register_buffer("mean_color", torch.tensor(_MEAN_COLOR)[:, None, None], persistent=False)

    @classmethod
    def from_files(cls, weights: Path, layout: Path) -> "DlibFace":
        """The network with face-api's weights: bytes, and a list of names, shapes and scales.

        Raises: UserError if the two do not describe this network."""
        net = cls()
        try:
            arrays = _dequantized(weights.read_bytes(), json.loads(layout.read_bytes()))
            net.load_state_dict(net._named(arrays))
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as problem:
            raise UserError(f"{weights}: not dlib's face network: {str(problem).splitlines()[0]}") from problem
        return net.eval().requires_grad_(False)

    @classmethod
    def fetched(cls) -> "DlibFace":
        """The network with the fetched weights.

        Raises: UserError if they have not been fetched."""
        return cls.from_files(asset("dlib_face"), asset("dlib_face_layout"))

    def forward(self, chips: Float[Tensor, "b 3 150 150"]) -> Float[Tensor, "b 128"]:
        """Embeddings of aligned faces, RGB in 0..255. People differ by a distance of 0.6 and more."""
        net = (chips - self.mean_color) / 256
        for name, block in self.blocks.items():
            net = block(net)
            if name == "conv32_down":
                net = F.max_pool2d(net, 3, 2)
        return self.projection(net.mean(dim=(2, 3)))

    def _named(self, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The arrays by the names of this module's parameters."""
        return {
            name: arrays["fc"].T if name == "projection.weight" else _oriented(arrays[name.removeprefix("blocks.")])
            for name in self.state_dict()
        }


class _Scaled(nn.Module):
    """Convolution, then scale and shift per channel, as dlib's affine layer."""

    def __init__(self, channels: int, outputs: int, kernel: int, stride: int = 1, linear: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, outputs, kernel, stride, padding=0 if stride > 1 else kernel // 2)
        self.scale = _Affine(outputs)
        self.linear = linear

    def forward(self, net: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        net = self.scale(self.conv(net))
        return net if self.linear else F.relu(net)


class _Affine(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, net: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return net * self.weight[:, None, None] + self.bias[:, None, None]


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = _Scaled(width, width, 3), _Scaled(width, width, 3, linear=True)

    def forward(self, net: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return F.relu(self.conv2(self.conv1(net)) + net)


class _Shrinking(nn.Module):
    """Halves the map; the shortcut is pooled and filled up with zero channels, the smaller map with zero borders."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = _Scaled(channels, width, 3, stride=2), _Scaled(width, width, 3, linear=True)

    def forward(self, net: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        shortcut, made = F.avg_pool2d(net, 2), self.conv2(self.conv1(net))
        rows, columns = shortcut.shape[2] - made.shape[2], shortcut.shape[3] - made.shape[3]
        made = F.pad(made, (0, max(columns, 0), 0, max(rows, 0)))
        channels = made.shape[1] - shortcut.shape[1]
        return F.relu(made + F.pad(shortcut, (0, max(-columns, 0), 0, max(-rows, 0), 0, channels)))


@torch.no_grad()
def face_embeddings(
    net: DlibFace, frames: UInt8[np.ndarray, "f h w 3"], meshes: Float32[np.ndarray, "f 468 2"]
) -> Float32[np.ndarray, "f 128"]:
    """One embedding per frame; a row of NaN where the mesh is NaN, that is where no face was found."""
    found = np.full((len(frames), WIDTH), np.nan, np.float32)
    there = np.flatnonzero(np.isfinite(meshes).all(axis=(1, 2)))
    for start in range(0, len(there), BATCH):
        part = there[start : start + BATCH]
        chips = np.stack([face_chip(frames[index], meshes[index, MESH_POINTS, :]) for index in part])
        found[part] = net(torch.from_numpy(chips).permute(0, 3, 1, 2).float()).numpy()
    return found


def face_chip(frame: UInt8[np.ndarray, "h w 3"], points: Float32[np.ndarray, "5 2"]) -> UInt8[np.ndarray, "150 150 3"]:
    """The face turned, moved and scaled so that its five points (eye corners, nose) lie where the network expects them.

    `points` are in pixels (pixel 0 spans 0..1). Black outside the frame."""
    wanted = (_PADDING + _EYES_AND_NOSE) / (2 * _PADDING + 1) * CHIP
    matrix = similarity(points.astype(np.float64) - 0.5, wanted - 0.5)
    return np.asarray(cv2.warpAffine(frame, matrix, (CHIP, CHIP), flags=cv2.INTER_LINEAR), np.uint8)


def similarity(points: Float[np.ndarray, "n 2"], wanted: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "2 3"]:
    """The rotation, scaling and shift, without mirroring, that brings `points` nearest to `wanted`.

    Source: least squares over complex numbers, where such a map is a x + b."""
    from_points, to_points = points @ np.array([1, 1j]), wanted @ np.array([1, 1j])
    centered = from_points - from_points.mean()
    spread = max(float((np.abs(centered) ** 2).sum()), np.finfo(np.float64).tiny)
    turn = (np.conj(centered) @ (to_points - to_points.mean())) / spread
    shift = to_points.mean() - turn * from_points.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def _dequantized(content: bytes, manifest: list[dict[str, list[dict[str, object]]]]) -> dict[str, Tensor]:
    arrays: dict[str, Tensor] = {}
    position = 0
    for entry in manifest[0]["weights"]:
        shape, scale = _shape(entry["shape"]), entry.get("quantization")
        count = int(np.prod(shape))
        kind = np.dtype(np.uint8 if scale else "<f4")
        stored = np.frombuffer(content, kind, count, position).astype(np.float32)
        position += count * kind.itemsize
        if isinstance(scale, dict):
            stored = stored * np.float32(scale["scale"]) + np.float32(scale["min"])
        arrays[_own_name(str(entry["name"]))] = torch.from_numpy(stored.reshape(shape))
    if position != len(content):
        raise ValueError(f"{len(content)} bytes, {position} described")
    return arrays


def _shape(value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise ValueError(f"shape {value!r}")
    return tuple(int(length) for length in value)


def _own_name(name: str) -> str:
    """face-api's name of an array as a parameter of this module: conv/filters is conv.weight, for instance."""
    renamed = name.replace("conv/filters", "conv/weight").replace("scale/weights", "scale/weight")
    return renamed.replace("scale/biases", "scale/bias").replace("/", ".")


def _oriented(array: Tensor) -> Tensor:
    return array.permute(3, 2, 0, 1) if array.ndim == 4 else array
