"""What a finder of people must offer, and what is asked of the pictures that it looks at."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from directanimator.cues.person import PersonTrack
from directanimator.errors import UserError

RIVAL_SIDE = 0.4
"""A second face counts as a second person from this share of the larger face's side."""


@runtime_checkable
class PersonPerception(Protocol):
    """Finds people. Several implementations, one meaning: pixel 0 spans 0..1, masks are coverage 0..255."""

    def track(self, frames: UInt8[np.ndarray, "f h w 3"]) -> PersonTrack:
        """The most prominent person of a clip; an empty mask, score 0 and a NaN box where none is seen."""
        ...

    def faces(self, image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "n 4"]:
        """All faces of one picture, largest first, as x0, y0, x1, y1 in pixels."""
        ...


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
