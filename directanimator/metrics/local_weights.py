"""Weights that nobody may ship: files that a person puts into a directory, under the names they are published by."""

from dataclasses import dataclass
from pathlib import Path

from directanimator.digests import known_digest
from directanimator.errors import UserError
from directanimator.places import WEIGHTS_VARIABLE, weights_root


@dataclass(frozen=True)
class LocalFile:
    """A file that a network needs."""

    what: str
    names: tuple[str, ...]
    """File names, the first one found is taken."""
    page: str
    """Where to get it."""

    @property
    def is_there(self) -> bool:
        """Whether the directory holds it."""
        return self._found() is not None

    def path(self) -> Path:
        """Where it lies.

        Raises: UserError that names the file, where it was looked for, and where to get it."""
        found = self._found()
        if found is None:
            raise UserError(
                f"{self.what}: no {' or '.join(self.names)} in {weights_root()} (or set {WEIGHTS_VARIABLE}); "
                f"get it from {self.page}"
            )
        return found

    @property
    def sha256(self) -> str:
        """Of its bytes, in hexadecimal.

        Raises: UserError if it is missing, or cannot be read."""
        return known_digest(self.path())

    def _found(self) -> Path | None:
        return next((path for name in self.names if (path := weights_root() / name).is_file()), None)


INCEPTION = LocalFile(
    "FID's Inception network",
    ("pt_inception-2015-12-05-6726825d.pth",),
    "https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights",
)
ALEXNET = LocalFile(
    "LPIPS's AlexNet",
    ("alexnet-owt-7be5be79.pth",),
    "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
)
LPIPS_WEIGHTS = LocalFile(
    "LPIPS's weights of AlexNet's channels",
    ("lpips_alex.pth", "alex.pth"),
    "https://github.com/richzhang/PerceptualSimilarity (lpips/weights/v0.1/alex.pth)",
)
ARCFACE = LocalFile(
    "ArcFace",
    ("w600k_r50.onnx", "glintr100.onnx", "arcface.onnx"),
    "https://github.com/deepinsight/insightface/tree/master/model_zoo (buffalo_l; non-commercial)",
)
DWPOSE_DETECTOR = LocalFile("DWPose's person detector", ("yolox_l.onnx",), "https://huggingface.co/yzd-v/DWPose")
DWPOSE_POSE = LocalFile("DWPose's landmarks", ("dw-ll_ucoco_384.onnx",), "https://huggingface.co/yzd-v/DWPose")
