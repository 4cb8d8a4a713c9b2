"""Windows of real videos: which videos, which frames, and what is refused. The nets are replaced by a known person."""

from pathlib import Path

import numpy as np
import pytest

from directanimator.cues.person import PersonTrack, no_landmarks
from directanimator.data import folder_items
from directanimator.data.folder_items import REFERENCE_GAP, folder_item, list_videos, videos_of_split
from directanimator.data.spec import DataSpec
from directanimator.errors import UserError
from directanimator.video import write_video

FRAMES = 24


class KnownPerson:
    """Stands in for the nets: the person fills the middle of every frame."""

    def track(self, frames: np.ndarray) -> PersonTrack:
        mask = np.zeros(frames.shape[:3], np.uint8)
        side = frames.shape[1]
        mask[:, side // 4 : -side // 4, side // 4 : -side // 4] = 255
        box = np.array([0.4, 0.3, 0.6, 0.5], np.float32) * side
        count = len(frames)
        return PersonTrack(mask, np.tile(box, (count, 1)), np.ones(count, np.float32), no_landmarks(count))


@pytest.fixture(autouse=True)
def _known_person(monkeypatch: pytest.MonkeyPatch) -> None:
    folder_items._watched.cache_clear()
    monkeypatch.setattr(folder_items, "MediapipePerception", KnownPerson)


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
    class Nobody(KnownPerson):
        def track(self, frames: np.ndarray) -> PersonTrack:
            count = len(frames)
            boxes = np.full((count, 4), np.nan, np.float32)
            empty = np.zeros(frames.shape[:3], np.uint8)
            return PersonTrack(empty, boxes, np.zeros(count, np.float32), no_landmarks(count))

    monkeypatch.setattr(folder_items, "MediapipePerception", Nobody)
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
def test_training_and_test_videos_partition_the_folder(tmp_path: Path, count: int) -> None:
    for index in range(count):
        (tmp_path / f"{index:02}.MP4").touch()
    train, test = (videos_of_split(str(tmp_path), split) for split in ("train", "test"))
    assert sorted(train + test) == list_videos(str(tmp_path))
    assert not set(train) & set(test)
    assert len(test) == -(-count // 8)


def test_a_small_folder_is_tested_on_what_it_trains_on(tmp_path: Path) -> None:
    for index in range(7):
        (tmp_path / f"{index}.mp4").touch()
    assert videos_of_split(str(tmp_path), "train") == videos_of_split(str(tmp_path), "test")
