"""What is known of a rendered clip, beside its video: `NAME.truth.safetensors`."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from directanimator.atomic import atomic_write
from directanimator.cues.person import PersonTrack
from directanimator.errors import UserError
from directanimator.perception.person import Seen, Sighting
from directanimator.perception.region import Patch

FIELDS = ("mask", "face_box", "score", "landmarks")


def truth_path(video: Path) -> Path:
    """Where the truth about a video lies."""
    return video.with_suffix(".truth.safetensors")


def write_truth(video: Path, track: PersonTrack) -> None:
    """Nothing; the track lies beside the video."""
    arrays = {name: np.ascontiguousarray(getattr(track, name)) for name in FIELDS}
    atomic_write(truth_path(video), lambda draft: save_file(arrays, draft))


def read_truth(video: Path) -> PersonTrack:
    """The track that lies beside a video.

    Raises: UserError if there is none, or it is damaged."""
    path = truth_path(video)
    if not path.is_file():
        raise UserError(f"{path}: no such file; perception.masks=truth is for clips beside which write_truth left it")
    try:
        arrays = load_file(path)
        return PersonTrack(**{name: arrays[name] for name in FIELDS})
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path}: damaged") from error


class TrueWatch:
    """The person as the truth knows them; frame k of the truth is frame k of the clip at its own rate."""

    def __init__(self, track: PersonTrack) -> None:
        self._track = track

    def watch(self, frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Iterator[Seen]:
        """Every frame with the truth about it.

        Raises: UserError at the end if the truth is shorter or longer than the clip."""
        count = 0
        for number, frame in enumerate(frames):
            if number < self._track.num_frames:
                yield Seen(frame, self._sighting(number, frame))
            count += 1
        if count != self._track.num_frames:
            raise UserError(f"the truth has {self._track.num_frames} frames, the clip {count}; do not resample it")

    def _sighting(self, number: int, frame: UInt8[np.ndarray, "h w 3"]) -> Sighting:
        track, (height, width) = self._track, frame.shape[:2]
        across, down = width / track.size[1], height / track.size[0]
        mask = track.mask[number]
        return Sighting(
            mask=Patch.of_frame(mask, height, width) if mask.any() else None,
            face_box=(track.face_box[number] * [across, down, across, down]).astype(np.float32),
            score=float(track.score[number]),
            landmarks=(track.landmarks[number] * [across, down]).astype(np.float32),
        )
