"""Contact sheets: many people, or many motions, in one picture for the eye."""

from typing import Literal

import numpy as np
from jaxtyping import UInt8

from directanimator.data.spec import Subset
from directanimator.data.synthetic.clip import render_clip
from directanimator.data.synthetic.identity import identity_at
from directanimator.data.synthetic.motion import motion_at
from directanimator.data.synthetic.scene import View, scene_at
from directanimator.data.synthetic.splits import NUM_IDENTITIES, Split
from directanimator.data.synthetic.subsets import SUBSET_CLIPS, render_driver, subset_pair
from directanimator.errors import UserError

Sheet = Literal["identities", "motion", "subset"]
_COLUMNS = 8


def _grid(frames: list[np.ndarray]) -> np.ndarray:
    rows = [frames[start : start + _COLUMNS] for start in range(0, len(frames), _COLUMNS)]
    blank = np.full_like(frames[0], 255)
    return np.concatenate([np.concatenate([*row, *[blank] * (_COLUMNS - len(row))], 1) for row in rows])


def sheet_of_identities(split: Split, count: int, size: int, view: View) -> UInt8[np.ndarray, "h w 3"]:
    """One frame of each of the first people of a split, eight in a row.

    Raises: UserError if the split has fewer people."""
    if not 1 <= count <= NUM_IDENTITIES[split]:
        raise UserError(f"count={count}: split {split} has 1 to {NUM_IDENTITIES[split]} people")
    frames = []
    for index in range(count):
        motion, scene = motion_at(split, index), scene_at(split, index)
        frames.append(render_clip(identity_at(split, index), motion, scene, np.array([1.0]), size, view).frames[0])
    return _grid(frames)


def sheet_of_motion(split: Split, motion: int, size: int, view: View) -> UInt8[np.ndarray, "h w 3"]:
    """Eight people, one to a row, who perform one motion at eight moments.

    Raises: UserError for a motion outside the split."""
    track, times = motion_at(split, motion), np.linspace(0.3, 5.7, _COLUMNS)
    people = [identity_at(split, index) for index in range(_COLUMNS)]
    clips = [render_clip(person, track, scene_at(split, 0), times, size, view) for person in people]
    return _grid([frame for clip in clips for frame in clip.frames])


def sheet_of_subset(subset: Subset, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """The driver of every member of a subset, in the middle of its window.

    Raises: UserError for an unknown subset."""
    pairs = [subset_pair(subset, index, 9, 8.0) for index in range(SUBSET_CLIPS)]
    return _grid([render_driver(pair, pair.times[4:5], size).frames[0] for pair in pairs])
