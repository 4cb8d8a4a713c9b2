"""Whose pseudo clips are to be made: for every video, the people of a few others."""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

from directanimator.data.folder_items import videos_of_split
from directanimator.data.pseudo_pairs import check_name
from directanimator.digests import digest_of_file
from directanimator.frozen import FrozenSpec

MOST_PER_CLIP = 8
"""Paper: 0 to 3."""


class Pairing(FrozenSpec):
    """A video and the one whose person is to show its motion, by their names."""

    video: str
    reference: str


def pairings(digests: Mapping[str, str], per_clip: int, seed: int) -> list[Pairing]:
    """For each video `per_clip` others, or as many as there are; in the order of names. `digests` names their bytes.

    Nobody is paired with himself: neither with the same name nor with the same bytes. Each pair is ranked by a hash of
    its own, so that a larger `per_clip` adds pairs, and another video in the folder changes few.
    Source: the paper draws 0 to 3 of 1,000 separate images. Deviation: people of the folder's own videos, and always
    the same number, since screening drops some and `cross_id.same_id_share` mixes in the rest."""
    found = []
    for video in sorted(digests):
        others = [name for name in digests if name != video and digests[name] != digests[video]]
        ranked = sorted(others, key=functools.partial(_rank, seed, video))
        found += [Pairing(video=video, reference=other) for other in ranked[:per_clip]]
    return found


def _rank(seed: int, video: str, other: str) -> str:
    return hashlib.sha256(f"{seed}\0{video}\0{other}".encode("utf-8", "surrogateescape")).hexdigest()


def digests_of_splits(folder: Path) -> list[dict[str, str]]:
    """The videos of a folder by name, with the digests of their bytes: those of training, then those of each other
    split.

    One part alone where all splits share the videos. Pairs are made within a part, so that nobody of the test
    videos is seen in training.
    Raises: UserError if there is no video, or one cannot be read, or its name cannot be written down."""
    parts = [videos_of_split(str(folder), split) for split in ("train", "val", "test")]
    if parts[0] == parts[1]:
        parts = parts[:1]
    for path in (path for part in parts for path in part):
        check_name(path.name)
    return [{path.name: digest_of_file(path) for path in part} for part in parts]
