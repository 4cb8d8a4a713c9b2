"""What a finder of people must offer, and what is asked of the pictures that it looks at."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from directanimator.cues.person import PersonTrack, no_landmarks
from directanimator.errors import UserError
from directanimator.perception.region import Patch, View

RIVAL_SIDE = 0.4
"""A second face counts as a second person from this share of the larger face's side."""


def no_face() -> Float32[np.ndarray, " 4"]:
    """The box of a face that is not seen."""
    return np.full(4, np.nan, np.float32)


@dataclass(frozen=True, eq=False)
class Sighting:
    """What is seen of one person in one frame; places in its pixels. Small, whatever the frame's size."""

    mask: Patch | None
    """None where nobody is seen."""
    face_box: Float32[np.ndarray, " 4"] = field(default_factory=no_face)
    score: float = 0.0
    landmarks: Float32[np.ndarray, "k 2"] = field(default_factory=lambda: no_landmarks(1)[0])

    def mask_in(self, view: View) -> UInt8[np.ndarray, "h w"]:
        """The mask as the view shows it, 0..255."""
        return np.zeros((view.out_h, view.out_w), np.uint8) if self.mask is None else self.mask.laid(view)


class Seen(NamedTuple):
    """A frame and the person in it."""

    frame: UInt8[np.ndarray, "h w 3"]
    sighting: Sighting


@runtime_checkable
class PersonWatch(Protocol):
    """Follows one person through frames that come one by one."""

    def watch(self, frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Iterator[Seen]:
        """Every frame of a clip with the one person that is followed; may read a few frames ahead."""
        ...


@runtime_checkable
class PersonPerception(Protocol):
    """Finds people. Several implementations, one meaning: pixel 0 spans 0..1, masks are coverage 0..255."""

    def track(self, frames: UInt8[np.ndarray, "f h w 3"]) -> PersonTrack:
        """The followed person of a clip; an empty mask, score 0 and a NaN box where nobody is seen."""
        ...

    def faces(self, image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "n 4"]:
        """All faces of one picture, largest first, as x0, y0, x1, y1 in pixels."""
        ...


def tracked(sightings: Iterable[Sighting], view: View) -> PersonTrack:
    """The sightings of a clip as one track, in the view's pixels.

    Raises: ValueError if there is none."""
    seen = list(sightings)
    if not seen:
        raise ValueError("a track has at least one frame, got none")
    return PersonTrack(
        mask=np.stack([sighting.mask_in(view) for sighting in seen]),
        face_box=view.boxes(np.stack([sighting.face_box for sighting in seen])),
        score=np.array([sighting.score for sighting in seen], np.float32),
        landmarks=view.points(np.stack([sighting.landmarks for sighting in seen])),
    )


def require_person(track: PersonTrack, where: str) -> None:
    """Refuses a clip in which nobody was found.

    Raises: UserError if every mask is empty."""
    if not track.mask.any():
        raise UserError(f"no person found in {where}: want one person, well visible, in most frames")


def require_one_person(faces: Float32[np.ndarray, "n 4"], where: str) -> None:
    """Refuses a picture with people of similar size, since nothing tells which one is meant. No face is no error here.

    Raises: UserError if two faces or more have at least `RIVAL_SIDE` of the largest face's side."""
    sides = np.maximum(faces[:, 2] - faces[:, 0], faces[:, 3] - faces[:, 1])
    rivals = int((sides > RIVAL_SIDE * sides.max(initial=0)).sum())
    if rivals > 1:
        raise UserError(f"{where}: {rivals} people of similar size, want one; crop the picture to the one you mean")
