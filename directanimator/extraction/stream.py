"""The driving cue triplet of a video that comes frame by frame, in memory that does not grow with its length.

The gate and the brightness of the pose cue are judged over the whole clip, so there are two passes: the first over the
frames as they are decoded, which leaves canvas pictures on disk; the second over these."""

import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from directanimator.cues.alignment import Alignment
from directanimator.cues.canvas import resize
from directanimator.cues.face import SMOOTHING_RADIUS, face_cue, smooth_boxes
from directanimator.cues.framing import Crop
from directanimator.cues.gate import MaskFigures, measured
from directanimator.cues.location import location_cue
from directanimator.cues.person import PersonTrack, no_landmarks
from directanimator.cues.pose import Brightness, luma, person_on_gray, pose_cue_of
from directanimator.cues.spec import FaceCueSpec, LocationCueSpec, PoseCueSpec
from directanimator.errors import UserError
from directanimator.perception.person import Seen
from directanimator.perception.region import View

SPOOLED_BYTES = 5
"""Of a pixel between the passes: four of brightness, one of the mask."""
_THREADS = 2


@dataclass(frozen=True, eq=False)
class CanvasFrame:
    """One frame, as the first pass leaves it on the canvas."""

    gray: Float32[np.ndarray, "h w"]
    """Brightness of the person on mid-gray, 0..255."""
    mask: UInt8[np.ndarray, "h w"]
    face: UInt8[np.ndarray, "h w 3"]
    face_present: bool
    face_box: Float32[np.ndarray, " 4"]
    """Steadied, in pixels of the canvas; NaN where there is none."""
    figures: MaskFigures
    moments: Float64[np.ndarray, " 3"]
    """Sums over pixels of the mask's share, times brightness to the power of 0, 1, 2."""


@runtime_checkable
class Sink(Protocol):
    """Where frames of a cue go."""

    def append(self, item: dict[str, np.ndarray]) -> None:
        """Takes the next frame's arrays."""
        ...


# ---------------------------------------------------------------- first pass


def trimmed(crop: Crop, size: int) -> Crop:
    """The crop without its last few pixels, so that a whole factor brings it near the canvas."""
    factor = max(1, crop.side // size)
    return Crop(crop.left, crop.top, crop.side - crop.side % factor)


def canvas_frames(seen: Iterable[Seen], crop: Crop, size: int, face: FaceCueSpec) -> Iterator[CanvasFrame]:
    """What the cues are made of, frame by frame; `crop` is a trimmed one.

    Runs behind `seen` by `SMOOTHING_RADIUS` frames, as a face box is steadied by those that follow."""
    waiting: deque[Future[CanvasFrame]] = deque()
    with ThreadPoolExecutor(_THREADS) as threads:
        for one, box in _steadied(seen):
            waiting.append(threads.submit(canvas_frame, one, box, crop, size, face))
            if len(waiting) > _THREADS:
                yield waiting.popleft().result()
        for future in waiting:
            yield future.result()


def canvas_frame(
    seen: Seen, steady_box: Float32[np.ndarray, " 4"], crop: Crop, size: int, spec: FaceCueSpec
) -> CanvasFrame:
    """One frame on the canvas.

    Person and mask are cut out at the largest whole part of the frame's resolution that holds the canvas: the nets'
    masks are coarser than that anyway. The face is taken from the frame as it is."""
    square = crop.cut(seen.frame[None], empty_outside=False)
    side = crop.side // max(1, crop.side // size)
    working = resize(square, side)
    mask = seen.sighting.mask_in(
        View(float(crop.left), float(crop.top), float(crop.side), float(crop.side), side, side)
    )[None]
    gray = _shrunk(luma(person_on_gray(working, mask))[0], size)
    on_canvas = resize(mask, size)[0]
    in_square = (steady_box - np.array([crop.left, crop.top] * 2)).astype(np.float32)
    face, present = face_cue(square, in_square[None], size, spec)
    return CanvasFrame(
        gray=gray,
        mask=on_canvas,
        face=face[0],
        face_present=bool(present[0]),
        face_box=np.asarray(in_square * np.float32(size / crop.side), np.float32),
        figures=measured(on_canvas, seen.sighting.score),
        moments=_moments(gray, on_canvas.astype(np.float32) / 255),
    )


def _shrunk(gray: Float32[np.ndarray, "t t"], size: int) -> Float32[np.ndarray, "h w"]:
    """The picture at `size`, by `canvas.resize`'s rule."""
    method = cv2.INTER_AREA if size <= len(gray) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(gray, (size, size), interpolation=method), np.float32)


def _moments(gray: Float32[np.ndarray, "h w"], share: Float32[np.ndarray, "h w"]) -> Float64[np.ndarray, " 3"]:
    weighted = gray * share
    total, first = share.sum(dtype=np.float64), weighted.sum(dtype=np.float64)
    return np.array([total, first, np.multiply(weighted, gray).sum(dtype=np.float64)])


def _steadied(seen: Iterable[Seen]) -> Iterator[tuple[Seen, Float32[np.ndarray, " 4"]]]:
    """Each frame with its face box averaged over its neighbors, exactly as `smooth_boxes` does over the whole clip."""
    window: deque[Seen] = deque()
    before: deque[np.ndarray] = deque(maxlen=SMOOTHING_RADIUS)

    def steady() -> tuple[Seen, Float32[np.ndarray, " 4"]]:
        boxes = np.stack([*before, *(one.sighting.face_box for one in window)])
        first = window.popleft()
        box = smooth_boxes(boxes)[len(before)]
        before.append(first.sighting.face_box)
        return first, box

    for one in seen:
        window.append(one)
        if len(window) > SMOOTHING_RADIUS:
            yield steady()
    while window:
        yield steady()


# ---------------------------------------------------------------- between the passes


class Spool:
    """Canvas pictures of a clip in a temporary file, which is gone when the block ends.

    A file and not a memory map: pages of a map count as memory of the process. `SPOOLED_BYTES` a pixel and frame.
    Raises: UserError, here and in `append`, if the temporary folder takes no file or is full."""

    def __init__(self, size: int) -> None:
        self._size = size
        with _temporary_folder_named():
            self._file = tempfile.TemporaryFile(prefix="directanimator-", buffering=0)  # noqa: SIM115 closed on exit
        self.num_frames = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, frame: CanvasFrame) -> None:
        """Adds the next frame's brightness and mask."""
        left = memoryview(frame.gray.tobytes() + frame.mask.tobytes())
        with _temporary_folder_named():
            while left:  # a folder that fills up takes a part at first
                left = left[self._file.write(left) :]
        self.num_frames += 1

    def pictures(self) -> Iterator[tuple[Float32[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]]:
        """Brightness and mask of each frame. Several may read at once."""
        pixels, shape = self._size**2, (self._size, self._size)
        for number in range(self.num_frames):
            data = os.pread(self._file.fileno(), SPOOLED_BYTES * pixels, SPOOLED_BYTES * pixels * number)
            gray = np.frombuffer(data, np.float32, pixels).reshape(shape)
            yield gray, np.frombuffer(data, np.uint8, pixels, 4 * pixels).reshape(shape)


@contextmanager
def _temporary_folder_named() -> Iterator[None]:
    """A block in which an OSError is one of the temporary folder.

    Raises: UserError in one line."""
    try:
        yield
    except OSError as error:
        folder = tempfile.tempdir or os.environ.get("TMPDIR", "TMPDIR")
        raise UserError(
            f"{folder}: cannot hold the frames of a video: {error.strerror or error}; set TMPDIR to a folder that "
            f"takes {SPOOLED_BYTES} x size^2 bytes a frame"
        ) from error


def brightness_of(moments: Iterable[Float64[np.ndarray, " 3"]]) -> Brightness:
    """Mean and spread over the frames whose moments are given."""
    total, first, second = np.sum([np.zeros(3), *moments], axis=0)
    mean = float(first) / max(float(total), 1e-6)
    return Brightness(mean, max(float(second) / max(float(total), 1e-6) - mean**2, 0.0))


# ---------------------------------------------------------------- second pass


@dataclass(frozen=True, eq=False)
class FrameFacts:
    """What is kept in memory of every frame."""

    figures: MaskFigures
    face_box: Float32[np.ndarray, " 4"]
    face_present: bool
    moments: Float64[np.ndarray, " 3"]


@dataclass(frozen=True, eq=False)
class Judged:
    """What the first pass found out about a clip."""

    accepted: Sequence[bool]
    face_boxes: Sequence[Float32[np.ndarray, " 4"]]
    brightness: Brightness
    alignment: Alignment


def pose_frames(spool: Spool, judged: Judged, spec: PoseCueSpec) -> Iterator[dict[str, np.ndarray]]:
    """The pose cue, frame by frame; a rejected frame is flat."""
    for (gray, mask), accepted in zip(spool.pictures(), judged.accepted, strict=True):
        share = (mask * accepted).astype(np.float32) / 255
        cue = pose_cue_of(gray[None], share[None], judged.brightness, judged.alignment, spec)[0]
        yield {"pose_cue": cue, "pose_present": np.array(accepted)}


def location_frames(spool: Spool, judged: Judged, size: int, spec: LocationCueSpec) -> Iterator[dict[str, np.ndarray]]:
    """The location cue, frame by frame; a rejected frame has no body."""
    pairs = zip(spool.pictures(), judged.accepted, judged.face_boxes, strict=True)
    for (_, mask), accepted, box in pairs:
        track = PersonTrack((mask * accepted)[None], box[None], np.ones(1, np.float32), no_landmarks(1))
        body, face = location_cue(track, judged.alignment, size, spec)
        yield {"body_location": body[0], "face_location": face[0]}


def drained(*ways: tuple[Iterator[dict[str, np.ndarray]], Sink]) -> None:
    """Nothing; afterwards every frame of each iterator is in its sink. Each has a thread of its own."""
    with ThreadPoolExecutor(_THREADS) as threads:
        for done in [threads.submit(_drain, frames, sink) for frames, sink in ways]:
            done.result()


def _drain(frames: Iterator[dict[str, np.ndarray]], sink: Sink) -> None:
    for frame in frames:
        sink.append(frame)
