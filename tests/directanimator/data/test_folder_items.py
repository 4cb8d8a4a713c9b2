"""Windows of real videos: which videos, which frames, and what is refused. The nets are replaced by a known person."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from directanimator.cues.person import PersonTrack, no_landmarks
from directanimator.cues.spec import TrustSpec
from directanimator.data import folder_items
from directanimator.data.folder_items import REFERENCE_GAP, check_splits, folder_item, list_videos, videos_of_split
from directanimator.data.pseudo_pairs import PAIRS_FILE, PseudoPair, PseudoPairs
from directanimator.data.spec import DataSpec
from directanimator.errors import UserError
from directanimator.extraction.sightings import Watch
from directanimator.perception.person import Seen, Sighting
from directanimator.perception.region import Patch
from directanimator.places import CUES_VARIABLE
from directanimator.video import write_video

FRAMES = 24


class KnownPerson:
    """Stands in for the nets: the person fills the middle of every frame."""

    def __init__(self) -> None:
        self.looked_at = 0

    def watch(self, frames: Iterable[np.ndarray]) -> Iterator[Seen]:
        for frame in frames:
            self.looked_at += 1
            mask, side = np.zeros(frame.shape[:2], np.uint8), frame.shape[0]
            mask[side // 4 : -side // 4, side // 4 : -side // 4] = 255
            box = np.array([0.4, 0.3, 0.6, 0.5], np.float32) * side
            yield Seen(frame, Sighting(Patch.of_frame(mask, *mask.shape), box, 1.0))


class Nobody:
    """Stands in for nets that find no one."""

    def watch(self, frames: Iterable[np.ndarray]) -> Iterator[Seen]:
        for frame in frames:
            yield Seen(frame, Sighting(None))


@pytest.fixture(autouse=True)
def person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> KnownPerson:
    person = KnownPerson()
    monkeypatch.setenv(CUES_VARIABLE, str(tmp_path / "store"))
    look_with(person, monkeypatch)
    return person


def look_with(nets: KnownPerson | Nobody, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_items._watched.cache_clear()
    monkeypatch.setattr(folder_items, "_watch", lambda _: Watch(lambda _: nets, lambda _: {"net": type(nets).__name__}))


def write_clip(path: Path, frames: int = FRAMES) -> Path:
    """Frame k is plain gray of value 10 k."""
    write_video(path, np.repeat(np.arange(frames) * 10, 64 * 64 * 3).reshape(-1, 64, 64, 3).astype(np.uint8), 8.0)
    return path


def spec_of(folder: Path) -> DataSpec:
    return DataSpec(source="folder", folder=str(folder), size=32, latent_frames=2, fps=8.0)


def numbers(frames: np.ndarray) -> list[int]:
    return [round(value / 10) for value in frames.mean(axis=(1, 2, 3))]


@pytest.mark.parametrize("index", range(8))
def test_an_item_is_a_window_of_frames_in_a_row_and_a_reference_far_from_it(tmp_path: Path, index: int) -> None:
    write_clip(tmp_path / "a.mp4")
    item = folder_item("train", index, spec_of(tmp_path))
    window, (still,) = numbers(item.target), numbers(item.reference)
    assert window == list(range(window[0], window[0] + 5))
    assert min(abs(still - frame) for frame in window) > REFERENCE_GAP


def test_an_item_drives_itself(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4")
    item = folder_item("train", 0, spec_of(tmp_path))
    np.testing.assert_array_equal(item.driving, item.own_frames)
    assert numbers(item.own_frames) == numbers(item.target)
    assert item.own_frames.shape == (5, 64, 64, 3)
    assert item.target.shape == (5, 32, 32, 3)
    assert item.target_track.mask.shape == (5, 32, 32)
    assert item.background is None


def test_an_item_is_the_same_every_time_and_indices_and_splits_differ(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4")
    spec = spec_of(tmp_path)

    def told(split: str, index: int) -> list[int]:
        item = folder_item(split, index, spec)
        return numbers(item.target) + numbers(item.reference)

    before = [told("train", index) for index in range(6)]
    folder_items._watched.cache_clear()
    assert [told("train", index) for index in range(6)] == before
    assert len({tuple(numbers_) for numbers_ in before}) > 3
    assert [told("test", index) for index in range(6)] != before


def test_the_nets_look_at_a_video_once_for_every_size_split_and_process(tmp_path: Path, person: KnownPerson) -> None:
    write_clip(tmp_path / "a.mp4")
    spec = spec_of(tmp_path)
    first = folder_item("train", 0, spec)
    folder_items._watched.cache_clear()  # as in another process
    again = folder_item("train", 0, spec)
    folder_item("test", 3, spec.model_copy(update={"size": 48}))
    assert person.looked_at == FRAMES
    np.testing.assert_array_equal(first.target_track.mask, again.target_track.mask)


def test_another_rate_or_other_nets_are_another_look(tmp_path: Path, person: KnownPerson) -> None:
    write_clip(tmp_path / "a.mp4")
    folder_item("train", 0, spec_of(tmp_path))
    folder_item("train", 0, spec_of(tmp_path).model_copy(update={"fps": 4.0, "latent_frames": 1}))
    assert person.looked_at == FRAMES + FRAMES // 2


def test_a_wide_video_is_seen_whole_and_shown_by_its_central_square(tmp_path: Path) -> None:
    frames = np.full((FRAMES, 64, 128, 3), 100, np.uint8)
    write_video(tmp_path / "a.mp4", frames, 8.0)
    item = folder_item("train", 0, spec_of(tmp_path))
    # the known person spans columns 16..112 and rows 16..48 of 128 x 64: all columns of the square, half of its rows
    assert item.target_track.mask.shape == (5, 32, 32)
    assert (item.target_track.mask[:, 8:24] > 200).mean() > 0.9
    assert not item.target_track.mask[:, :7].any()


def test_real_people_may_be_found_by_other_nets_and_synthetic_ones_by_none(tmp_path: Path) -> None:
    looked = DataSpec(source="folder", folder=str(tmp_path), perception={"masks": "sam2"})  # type: ignore[arg-type]
    assert looked.perception.masks == "sam2"
    with pytest.raises(ValueError, match="source=folder"):
        DataSpec(perception={"masks": "sam2"})  # type: ignore[arg-type]


@given(
    seen=st.lists(st.booleans(), min_size=6, max_size=30).filter(any),
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 5),
)
def test_the_reference_always_shows_the_person_and_the_window_does_at_some_time(seen, seed, count):
    mask = np.zeros((len(seen), 8, 8), np.uint8)
    mask[np.array(seen), 2:6, 2:6] = 255
    nowhere = np.full((len(seen), 4), np.nan, np.float32)
    track = PersonTrack(mask, nowhere, np.zeros(len(seen), np.float32), no_landmarks(len(seen)))
    window, still = folder_items._chosen_frames(Path("v.mp4"), track, count, np.random.default_rng(seed))
    assert window.start >= 0
    assert window.stop == window.start + count <= len(seen)
    assert any(seen[window])
    assert seen[still]
    others = [i for i, shows in enumerate(seen) if shows and not window.start <= i < window.stop]
    assert not others or still in others
    far = [i for i in others if i < window.start - REFERENCE_GAP or i >= window.stop + REFERENCE_GAP]
    assert not far or still in far


def test_a_video_that_only_the_edge_of_a_person_reaches_is_named():
    track = PersonTrack(
        np.full((6, 8, 8), 100, np.uint8), np.full((6, 4), np.nan, np.float32), np.ones(6, np.float32), no_landmarks(6)
    )
    with pytest.raises(UserError, match=r"v\.mp4: only a soft edge"):
        folder_items._chosen_frames(Path("v.mp4"), track, 3, np.random.default_rng(0))


def test_a_video_barely_longer_than_the_window_takes_the_reference_it_has(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", frames=6)
    item = folder_item("train", 0, spec_of(tmp_path))
    assert {*numbers(item.target), *numbers(item.reference)} == set(range(6))


@pytest.mark.parametrize("frames", [1, 5])
def test_a_video_that_is_too_short_is_refused(tmp_path: Path, frames: int) -> None:
    path = write_clip(tmp_path / "a.mp4", frames)
    with pytest.raises(UserError, match=f"{frames} frames at 8 fps; more than 5") as caught:
        folder_item("train", 0, spec_of(tmp_path))
    assert str(path) in str(caught.value)


def test_a_text_file_named_as_a_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video\n")
    with pytest.raises(UserError) as caught:
        folder_item("train", 0, spec_of(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_video_that_shows_nobody_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_with(Nobody(), monkeypatch)
    write_clip(tmp_path / "a.mp4")
    with pytest.raises(UserError, match=r"a\.mp4"):
        folder_item("train", 0, spec_of(tmp_path))


def test_a_missing_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a directory"):
        list_videos(str(tmp_path / "none"))
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="holds no video"):
        list_videos(str(tmp_path))


@pytest.mark.parametrize("count", [8, 9, 20])
def test_the_splits_partition_the_folder(tmp_path: Path, count: int) -> None:
    for index in range(count):
        (tmp_path / f"{index:02}.MP4").touch()
    train, val, test = (videos_of_split(str(tmp_path), split) for split in ("train", "val", "test"))
    assert sorted(train + val + test) == list_videos(str(tmp_path))
    assert len(train) + len(val) + len(test) == count
    assert (len(val), len(test)) == ((count + 3) // 8, (count + 7) // 8)


def test_a_small_folder_is_tested_on_what_it_trains_on(tmp_path: Path) -> None:
    for index in range(7):
        (tmp_path / f"{index}.mp4").touch()
    assert videos_of_split(str(tmp_path), "train") == videos_of_split(str(tmp_path), "test")


def test_what_lies_beside_videos_and_is_none_changes_nothing(tmp_path: Path) -> None:
    names = [f"{index:02}.mp4" for index in range(9)]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "._00.mp4").touch()
    (tmp_path / "03b.mp4").mkdir()
    assert [path.name for path in list_videos(str(tmp_path))] == names


# ------------------------------------------------------------------------------------------------ pseudo drivers


def write_pseudo(folder: Path, name: str, frames: int = FRAMES) -> Path:
    """Frame k is plain gray of value 255 - 10 k."""
    path = folder / "pseudo" / name
    path.parent.mkdir(exist_ok=True)
    values = 255 - np.repeat(np.arange(frames) * 10, 64 * 64 * 3)
    write_video(path, values.reshape(-1, 64, 64, 3).astype(np.uint8), 8.0)
    return path


def pair_up(folder: Path, *pairs: tuple[str, Path]) -> None:
    """`pairs.json` for these videos and their pseudo clips."""
    entries = [
        PseudoPair(
            video=video,
            reference=f"of_{clip.name}",
            clip=str(clip.relative_to(folder)),
            sha256=hashlib.sha256(clip.read_bytes()).hexdigest(),
        )
        for video, clip in pairs
    ]
    (folder / PAIRS_FILE).write_text(PseudoPairs(pairs=tuple(entries)).model_dump_json())


def pseudo_numbers(frames: np.ndarray) -> list[int]:
    return [round((255 - value) / 10) for value in frames.mean(axis=(1, 2, 3))]


def test_a_pseudo_clip_drives_the_same_frames_and_leaves_the_same_id_fields_alone(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4")
    spec = spec_of(tmp_path)
    before = [folder_item("train", index, spec) for index in range(4)]
    pair_up(tmp_path, ("a.mp4", write_pseudo(tmp_path, "x.mp4")))
    for index, alone in enumerate(before):
        item = folder_item("train", index, spec)
        assert pseudo_numbers(item.driving) == numbers(item.own_frames)
        assert item.driving_track.mask.shape == item.own_track.mask.shape
        assert item.survey_track.num_frames == FRAMES
        for name in ("reference", "target", "own_frames"):
            np.testing.assert_array_equal(getattr(item, name), getattr(alone, name))


@given(st.integers(8, 24), st.integers(0, 23), st.integers(0, 23), st.lists(st.integers(0, 23), max_size=3))
def test_pairs_within_a_split_are_taken_and_those_that_join_two_are_refused(count, video, reference, added):
    """A video that is added to the folder moves all that come after it in the order of names."""
    video, reference = video % count, reference % count
    assume(video != reference)
    with TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(count):
            (folder / f"{index:02}.mp4").touch()
        for before in added:
            (folder / f"{before:02}_.mp4").touch()
        pair = PseudoPair(video=f"{video:02}.mp4", reference=f"{reference:02}.mp4", clip="x.mp4", sha256="0" * 64)
        (folder / PAIRS_FILE).write_text(PseudoPairs(pairs=(pair,)).model_dump_json())
        parts = [{path.name for path in videos_of_split(name, split)} for split in ("train", "val", "test")]
        if any({pair.video, pair.reference} <= part for part in parts):
            check_splits(name)
        else:
            with pytest.raises(UserError, match=f"{pair.video} is for .* the person of {pair.reference}.*again"):
                check_splits(name)


def test_a_person_from_elsewhere_is_of_no_split(tmp_path: Path) -> None:
    for index in range(9):
        (tmp_path / f"{index}.mp4").touch()
    pair = PseudoPair(video="1.mp4", reference="elsewhere.png", clip="x.mp4", sha256="0" * 64)
    (tmp_path / PAIRS_FILE).write_text(PseudoPairs(pairs=(pair,)).model_dump_json())
    check_splits(str(tmp_path))


def test_all_pseudo_clips_of_a_video_are_drawn_and_those_of_others_never(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / name)
    long, short = write_pseudo(tmp_path, "x.mp4"), write_pseudo(tmp_path, "y.mp4", FRAMES + 3)
    pair_up(tmp_path, ("a.mp4", long), ("a.mp4", short))
    lengths = [folder_item("train", index, spec_of(tmp_path)).survey_track.num_frames for index in range(0, 16, 2)]
    assert set(lengths) == {FRAMES, FRAMES + 3}
    unpaired = folder_item("train", 1, spec_of(tmp_path))
    np.testing.assert_array_equal(unpaired.driving, unpaired.own_frames)
    assert unpaired.trust == TrustSpec()


def test_a_pseudo_clip_that_is_another_file_too_short_or_gone_is_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4")
    clip = write_pseudo(tmp_path, "x.mp4", 3)
    pair_up(tmp_path, ("a.mp4", clip))
    with pytest.raises(UserError, match="3 frames"):
        folder_item("train", 0, spec_of(tmp_path))
    write_pseudo(tmp_path, "x.mp4")
    with pytest.raises(UserError, match=r"another file.*pairs\.json"):
        folder_item("train", 0, spec_of(tmp_path))
    clip.unlink()
    with pytest.raises(UserError, match=r"x\.mp4"):
        folder_item("train", 0, spec_of(tmp_path))
