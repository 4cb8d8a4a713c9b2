"""Videos of a bright person, and who finds one there, for any process."""

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from directanimator.extraction.command import Request
from directanimator.extraction.sightings import Watch
from directanimator.perception.person import Seen, Sighting
from directanimator.perception.region import Patch


class BrightPerson:
    """Takes what is bright for the person, and its upper third for the face; counts the frames that it looks at."""

    def __init__(self) -> None:
        self.looked_at = 0

    def watch(self, frames: Iterable[np.ndarray]) -> Iterator[Seen]:
        for frame in frames:
            self.looked_at += 1
            mask = np.where(frame.mean(axis=-1) > 128, 255, 0).astype(np.uint8)
            rows, columns = np.nonzero(mask)
            if not len(rows):
                yield Seen(frame, Sighting(None))
                continue
            third = rows.min() + (rows.max() + 1 - rows.min()) / 3
            box = np.array([columns.min(), rows.min(), columns.max() + 1, third], np.float32)
            yield Seen(frame, Sighting(Patch.of_frame(mask, *mask.shape), box, 0.9))


def walker(num_frames: int, height: int = 64, width: int = 96, bright: int = 220) -> np.ndarray:
    """A block with a pattern that walks to the right through a dim room."""
    frames = np.full((num_frames, height, width, 3), 40, np.uint8)
    for k, frame in enumerate(frames):
        left = width // 3 + 10 * k // max(num_frames, 1)
        frame[height // 8 : -height // 8, left : left + width // 6] = bright
        frame[height // 2 : height // 2 + 6, left : left + width // 6] -= 40
    return frames


def watch_of(person: BrightPerson) -> Watch:
    return Watch(lambda _: person, lambda _: {"nets": "bright"})


class DeadlyPerson(BrightPerson):
    """Kills the first process that looks at the last frame of five."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self._place = place

    def watch(self, frames: Iterable[np.ndarray]) -> Iterator[Seen]:
        for number, seen in enumerate(super().watch(frames), start=1):
            if number == 5 and not (self._place / "killed").exists():
                (self._place / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield seen


def deadly_watch(request: Request) -> Watch:
    """In place of `default_watch`."""
    assert request.folder is not None
    return watch_of(DeadlyPerson(request.folder))
