"""Where the person of a video is, frame by frame: looked for once, and taken from the store ever after."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from jaxtyping import UInt8
from numpy import ndarray

from directanimator import video as video_files
from directanimator.ahead import ahead
from directanimator.digests import digest, digest_of_file
from directanimator.errors import UserError
from directanimator.extraction import recorded, truth
from directanimator.extraction.recorded import SIGHTINGS
from directanimator.extraction.spec import FaceBackend, MaskBackend, PerceptionSpec
from directanimator.extraction.store import Entry, Store, key_of
from directanimator.frozen import FrozenSpec
from directanimator.perception import following, insight, mediapipe, person, region, segmenters, ssd
from directanimator.perception.person import PersonWatch, Seen
from directanimator.video import open_video

CODE = (video_files, mediapipe, following, person, region, ssd, recorded)
"""The modules whose text is the code version of all sightings, from the file's frames to what is stored."""
LIBRARIES = ("ai-edge-litert", "av", "numpy", "opencv-python", "scipy")
_SEGMENTERS = ("transformers", "torch")
CODE_OF: Mapping[MaskBackend | FaceBackend, tuple[ModuleType, tuple[str, ...]]] = {
    "sam2": (segmenters, _SEGMENTERS),
    "grounded_sam": (segmenters, _SEGMENTERS),
    "segment_anything": (segmenters, ("segment-anything", "torch")),
    "insightface": (insight, ("insightface", "onnxruntime")),
    "truth": (truth, ()),
}
"""What a backend has beside `CODE` and `LIBRARIES`."""


@dataclass(frozen=True)
class Watch:
    """Who looks at frames; made only when there is something to look at."""

    make: Callable[[Path], PersonWatch]
    """Who looks at the frames of a file."""
    identity: Callable[[Path], Mapping[str, str]]
    """What names the nets and their weights."""


class Sightings(FrozenSpec):
    """What is noted beside the sightings of a clip."""

    fps: float
    height: int
    width: int
    num_seen: int


@functools.cache
def version_of(modules: tuple[ModuleType, ...], libraries: tuple[str, ...] = LIBRARIES) -> str:
    """12 hex digits that change with the text of the modules and with the libraries that they run on."""
    texts = [inspect.getsource(module) for module in modules] + [f"{name} {_installed(name)}" for name in libraries]
    return digest("\0".join(texts))


def _installed(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"


def sightings_key(video: str, fps: float | None, perception: PerceptionSpec, nets: Mapping[str, str]) -> str:
    """The key of what nets see in a video of this digest, resampled to `fps`."""
    own = [CODE_OF[backend] for backend in (perception.masks, perception.faces) if backend in CODE_OF]
    code = version_of(
        (*CODE, *(module for module, _ in own)), (*LIBRARIES, *(name for _, names in own for name in names))
    )
    return key_of(
        {"video": video, "fps": fps, "nets": dict(nets), "perception": perception.model_dump(mode="json"), "code": code}
    )


def looked(
    frames: Iterator[UInt8[ndarray, "h w 3"]], fps: float, watch: PersonWatch, store: Store, key: str
) -> Iterator[Seen]:
    """What the nets see; in the store once the last frame is read."""
    with store.writer("sightings", key, SIGHTINGS) as writer:
        height, width, num_seen = 0, 0, 0
        for seen in watch.watch(frames):
            writer.append(seen.sighting)
            height, width = seen.frame.shape[:2]
            num_seen += seen.sighting.mask is not None
            yield seen
        writer.notes.update(vars(Sightings(fps=fps, height=height, width=width, num_seen=num_seen)))


def sightings_of(path: Path, fps: float | None, perception: PerceptionSpec, store: Store, watch: Watch) -> Entry:
    """The sightings of a video, in the store afterwards.

    Raises: UserError if the video cannot be read to its end."""
    key = sightings_key(digest_of_file(path), fps, perception, watch.identity(path))
    if store.entry("sightings", key) is None:
        with open_video(path, fps) as video:
            for _ in looked(ahead(video.frames), video.fps, watch.make(path), store, key):
                pass
    entry = store.entry("sightings", key)
    if entry is None:
        raise UserError(f"{store.root}: the sightings of {path} were removed while they were read; start again")
    store.touch(entry)
    return entry
