"""Folders of clips, whatever made them: videos, or one folder of frames per clip."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from directanimator.digests import digest
from directanimator.errors import UserError
from directanimator.video import VIDEO_SUFFIXES, read_image, read_video

CLIP_SUFFIXES = (*VIDEO_SUFFIXES, ".gif")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_SAME_RATE = 1e-3


@dataclass(frozen=True)
class ClipFile:
    """Where a clip lies: a video, a folder of frames, or a still (a clip of one frame)."""

    name: str
    path: Path


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip as it was read."""

    frames: UInt8[np.ndarray, "f h w 3"]
    fps: float | None
    """None where the files do not say."""
    decoder: str
    """What read the pixels, and how they were stored."""

    @property
    def facts(self) -> "ClipFacts":
        """What is compared and remembered of the clip when its pixels are let go."""
        frames, height, width, _ = self.frames.shape
        return ClipFacts(frames, height, width, self.fps, self.decoder, digest_of_pixels(self.frames))


@dataclass(frozen=True)
class ClipFacts:
    """Length, size, rate, storage and sha256 of the pixels of a clip."""

    frames: int
    height: int
    width: int
    fps: float | None
    decoder: str
    sha256: str


def digest_of_pixels(frames: UInt8[np.ndarray, "f h w 3"]) -> str:
    """The sha256 of the pixels and their shape: what a clip is known by, whatever file they were read from."""
    content = hashlib.sha256(str(frames.shape).encode())
    content.update(np.ascontiguousarray(frames).data)
    return content.hexdigest()


def clips_of(folder: Path, role: str) -> dict[str, ClipFile]:
    """The clips of a folder by name (the file's without suffix), sorted.

    Raises: UserError if there is no such folder, it holds no clip, or two clips have one name."""
    if not folder.is_dir():
        raise UserError(f"{role}={folder}: {'is a file, want a folder' if folder.exists() else 'no such folder'}")
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    stills = role == "reference"
    found = [path for path in entries if _is_clip(path, stills)]
    if not found:
        raise UserError(f"{role}={folder}: {_why_empty(entries)}")
    clips: dict[str, ClipFile] = {}
    for path in found:
        name = path.name if path.is_dir() else path.stem
        if name in clips:
            raise UserError(f"{role}={folder}: two clips are named {name!r}: {clips[name].path.name} and {path.name}")
        clips[name] = ClipFile(name, path)
    return clips


def read_clip(file: ClipFile) -> Clip:
    """The clip's frames; a still is a clip of one frame.

    Raises: UserError if it cannot be read, or its frames differ in size."""
    path = file.path
    if path.is_dir():
        return _read_frames(path)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Clip(read_image(path)[None], None, f"pillow {path.suffix.lower().lstrip('.')}")
    video = read_video(path)
    return Clip(video.frames, video.fps, _storage(path))


def differences(target: Mapping[str, ClipFacts], other: Mapping[str, ClipFacts], role: str) -> dict[str, list[str]]:
    """By clip, one line for each way in which `other` is not like the target: name, size, frames, rate.

    A driving video may have another size, a reference may have any size, length and rate."""
    found: dict[str, list[str]] = {}
    for name in sorted(target.keys() | other.keys()):
        if name not in other:
            found[name] = [f"{name}: not in {role}"]
        elif name not in target:
            found[name] = [f"{name}: in {role}, not in target"]
        elif lines := _unlike(name, target[name], other[name], role):
            found[name] = lines
    return found


def _unlike(name: str, target: ClipFacts, other: ClipFacts, role: str) -> list[str]:
    if role == "reference":
        return []
    lines = []
    if role != "driving" and (other.height, other.width) != (target.height, target.width):
        lines.append(f"{name}: {role} {other.height}x{other.width}, target {target.height}x{target.width} pixels")
    if other.frames != target.frames:
        lines.append(f"{name}: {role} {other.frames}, target {target.frames} frames")
    if other.fps and target.fps and abs(other.fps - target.fps) > _SAME_RATE * target.fps:
        lines.append(f"{name}: {role} {other.fps:g}, target {target.fps:g} frames per second")
    return lines


def set_digest(facts: Mapping[str, ClipFacts]) -> str:
    """The first 12 hexadecimal digits of the sha256 of all names and pixels."""
    content = "\n".join(f"{name} {facts[name].sha256}" for name in sorted(facts))
    return digest(content)


def _is_clip(path: Path, stills: bool) -> bool:
    if path.is_dir():
        return any(_is_image(inner) for inner in path.iterdir())
    return path.suffix.lower() in CLIP_SUFFIXES or (stills and _is_image(path))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _why_empty(entries: Sequence[Path]) -> str:
    wanted = f"want videos ({', '.join(CLIP_SUFFIXES)}) or one folder of frames per clip"
    if not entries:
        return f"the folder is empty; {wanted}"
    if any(_is_image(path) for path in entries):
        return f"holds loose images; {wanted}"
    return f"holds no clip; {wanted}"


def _read_frames(folder: Path) -> Clip:
    files = sorted((path for path in folder.iterdir() if _is_image(path)), key=_natural)
    frames = [read_image(path) for path in files]
    sizes = {frame.shape[:2] for frame in frames}
    if len(sizes) > 1:
        raise UserError(f"{folder}: the frames have {len(sizes)} sizes, want one")
    suffixes = sorted({path.suffix.lower().lstrip(".") for path in files})
    return Clip(np.stack(frames), None, f"pillow {'+'.join(suffixes)}")


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts frame_9 before frame_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.stem)]


def _storage(path: Path) -> str:
    """Library, codec and pixel format: coding is part of what is measured."""
    import av

    with av.open(f"file:{path.resolve()}", metadata_errors="replace") as container:
        context = container.streams.video[0].codec_context
        return f"pyav {av.__version__} {context.name} {context.pix_fmt}"
