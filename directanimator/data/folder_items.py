"""Items from a folder of videos: the same-ID setting on real clips, and with pseudo clips the cross-ID one.

Every item is a window of one video, driven by itself, with a reference frame from outside the window. Nets look at a
video once, at full size; what they saw is kept in the store that `python -m directanimator.cues` fills too. Where the
folder holds `pairs.json`, the video's pseudo clips drive it in the cross-ID setting. Elsewhere nobody knows what
another person would look like doing the same, so the cross-ID fields repeat the same-ID ones."""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from directanimator.cues.canvas import resize
from directanimator.cues.framing import center_crop
from directanimator.cues.gate import FOREGROUND
from directanimator.cues.person import PersonTrack
from directanimator.cues.spec import TrustSpec
from directanimator.data.items import SOURCE_SCALE, AnimationItem
from directanimator.data.pseudo_pairs import PAIRS_FILE, pairs_by_video
from directanimator.data.spec import DataSpec
from directanimator.data.synthetic import Split
from directanimator.digests import SHORT, digest_of_file, known_digest
from directanimator.errors import UserError
from directanimator.extraction.backends import watch_of
from directanimator.extraction.recorded import SIGHTINGS
from directanimator.extraction.sightings import Sightings, Watch, sightings_of
from directanimator.extraction.spec import PerceptionSpec
from directanimator.extraction.store import Store, key_of
from directanimator.perception.person import require_person, tracked
from directanimator.perception.region import View
from directanimator.places import cues_root
from directanimator.video import VIDEO_SUFFIXES, fit_square, open_video, videos_in

REFERENCE_GAP = 4
"""Frames, at least, between the reference and the window, where the video is long enough."""
_SPLIT_CODE: dict[Split, int] = {"train": 0, "val": 1, "test": 2}
KEPT = 4
"""Whole videos that a process keeps, which may be large: the one whose items are made, and its pseudo clips."""
SHARE = 8
"""Every eighth video of a folder is for testing and every eighth for choosing, if it holds that many."""
_REST = {"test": 0, "val": SHARE // 2}


def list_videos(folder: str) -> list[Path]:
    """The videos of a folder, sorted by name.

    Raises: UserError if there is no such folder or it holds no video."""
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"data.folder={folder} is not a directory")
    videos = videos_in(root)
    if not videos:
        raise UserError(f"data.folder={folder} holds no video ({', '.join(VIDEO_SUFFIXES)})")
    return videos


def videos_of_split(folder: str, split: Split) -> list[Path]:
    """The videos of a split, which no other one has; a folder of fewer than eight tests on what it trains on."""
    videos = list_videos(folder)
    if len(videos) < SHARE:
        return videos
    split_at = {rest: name for name, rest in _REST.items()}
    return [video for index, video in enumerate(videos) if split_at.get(index % SHARE, "train") == split]


def check_splits(folder: str) -> None:
    """Nothing, unless a pair joins two splits, which other videos in the folder bring about: who is tested on would be
    seen in training.

    Raises: UserError, which names the pair."""
    splits = {video.name: split for split in _SPLIT_CODE for video in videos_of_split(folder, split)}
    for pairs in pairs_by_video(Path(folder)).values():
        for pair in pairs:
            first, second = splits.get(pair.video), splits.get(pair.reference)
            if first and second and first != second:
                raise UserError(
                    f"{Path(folder) / PAIRS_FILE}: {pair.video} is for {first}, but the person of {pair.reference}, "
                    f"who drives it, for {second}; make them again: python -m directanimator.pseudo videos={folder}"
                )


def caption_of(video: Path) -> str:
    """The words in the text file of the video's name beside it; empty if there is none.

    Raises: UserError if that file is no text."""
    beside = video.with_suffix(".txt")
    if not beside.is_file():
        return ""
    try:
        return " ".join(beside.read_text(encoding="utf-8").split())
    except UnicodeDecodeError as error:
        raise UserError(f"{beside} is no UTF-8 text; want the caption of {video.name}") from error


def videos_digest(folder: str) -> str:
    """12 hex digits that change with the names, bytes and captions of a folder's videos.

    Raises: UserError if there are none, or one cannot be read."""
    named = [[video.name, known_digest(video), caption_of(video)] for video in list_videos(folder)]
    return key_of({"videos": named})[:SHORT]


@functools.lru_cache(maxsize=1)
def _watch(perception: PerceptionSpec) -> Watch:
    """The nets of a perception, loaded once a process."""
    return watch_of(perception, None, None)


@functools.lru_cache(maxsize=KEPT)
def _watched(
    path: Path, fps: float, size: int, perception: PerceptionSpec
) -> tuple[UInt8[np.ndarray, "f s s 3"], PersonTrack]:
    """The central square of a whole video at `size` pixels, and its person there."""
    seen = sightings_of(path, fps, perception, Store(cues_root()), _watch(perception))
    noted = Sightings.model_validate(seen.notes)
    shown = center_crop(noted.height, noted.width)
    view = View(float(shown.left), float(shown.top), float(shown.side), float(shown.side), size, size)
    track = tracked(seen.items(SIGHTINGS), view)
    require_person(track, str(path))
    with open_video(path, fps) as video:
        frames = np.concatenate([fit_square(frame[None], size) for frame in video.frames])
    return frames, track


def _chosen_frames(
    path: Path, track: PersonTrack, count: int, rng: np.random.Generator
) -> tuple[slice, int]:
    """A window of `count` frames that shows the person at some time, and a reference frame that shows them: far from
    the window, else outside it, else anywhere.

    Raises: UserError if no frame shows them well."""
    seen = np.asarray((track.mask >= FOREGROUND).any(axis=(1, 2)))
    starts = [start for start in range(track.num_frames - count + 1) if seen[start : start + count].any()]
    if not starts:
        raise UserError(f"{path}: only a soft edge of the person reaches the square that is shown; want more")
    start = int(rng.choice(starts))
    away = np.maximum(start - np.arange(track.num_frames), np.arange(track.num_frames) - (start + count - 1))
    wanted = (np.flatnonzero(seen & (away > gap)) for gap in (REFERENCE_GAP, 0, -track.num_frames))
    return slice(start, start + count), int(rng.choice(next(frames for frames in wanted if len(frames))))


class _Driver(NamedTuple):
    """Who drives the target in the cross-ID setting."""

    frames: UInt8[np.ndarray, "f s s 3"]
    track: PersonTrack
    survey: PersonTrack
    """The same person over the whole driving video."""


def _pseudo_driver(path: Path, window: slice, spec: DataSpec, rng: np.random.Generator) -> _Driver | None:
    """The window of one of a video's pseudo clips; None if it has none.

    Raises: UserError if the clip is not the one that was paired, or ends before the window does."""
    folder = path.parent
    pairs = pairs_by_video(folder).get(path.name, ())
    if not pairs:
        return None
    pair = pairs[int(rng.integers(len(pairs)))]
    clip = folder / pair.clip
    if digest_of_file(clip) != pair.sha256:
        raise UserError(f"{clip}: is another file than {folder / PAIRS_FILE} tells of; make the pairs again")
    frames, track = _watched(clip, spec.fps, spec.size * SOURCE_SCALE, spec.perception)
    if len(frames) < window.stop:
        raise UserError(f"{clip} has {len(frames)} frames at {spec.fps:g} fps, which is fewer than {path} has")
    return _Driver(frames[window], track.part(window), track)


def folder_item(split: Split, index: int, spec: DataSpec) -> AnimationItem:
    """The item of an index, the same in every process; its same-ID fields are the same with and without pairs.

    Raises: UserError for a video that cannot be read, is too short, or shows nobody, and for pairs or a pseudo clip
        that cannot be believed."""
    videos = videos_of_split(str(spec.folder), split)
    path = videos[index % len(videos)]
    frames, track = _watched(path, spec.fps, spec.size * SOURCE_SCALE, spec.perception)
    if len(frames) <= spec.num_frames:
        raise UserError(f"{path} has {len(frames)} frames at {spec.fps:g} fps; more than {spec.num_frames} are needed")
    rng = np.random.default_rng(np.random.SeedSequence([_SPLIT_CODE[split], index]))
    window, still = _chosen_frames(path, track, spec.num_frames, rng)
    own = track.part(window)
    driver = _pseudo_driver(path, window, spec, rng) or _Driver(frames[window], own, track)
    return AnimationItem(
        reference=resize(frames[still : still + 1], spec.size),
        reference_track=track.part(slice(still, still + 1)).resized(spec.size),
        target=resize(frames[window], spec.size),
        target_track=own.resized(spec.size),
        background=None,
        own_frames=frames[window],
        own_track=own,
        driving=driver.frames,
        driving_track=driver.track,
        survey_track=driver.survey,
        trust=TrustSpec(),
        caption=caption_of(path),
    )
