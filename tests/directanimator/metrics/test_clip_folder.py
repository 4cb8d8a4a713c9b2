import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from directanimator.errors import UserError
from directanimator.metrics.clip_folder import ClipFacts, clips_of, differences, read_clip, set_digest
from tests.strategies import seeds


def clip(seed, frames=3, height=16, width=24):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


def write_frames(folder, frames, suffix="png"):
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame_{index}.{suffix}")


def write_lossless(path, frames, fps=8):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode(None))


@given(seeds(), st.integers(1, 12))
def test_frames_that_were_written_without_loss_come_back(tmp_path_factory, seed, count):
    folder, frames = tmp_path_factory.mktemp("clips"), clip(seed, count)
    write_frames(folder / "a", frames)
    write_lossless(folder / "b.mkv", frames)
    found = clips_of(folder, "target")
    assert list(found) == ["a", "b"]
    for file in found.values():
        np.testing.assert_array_equal(read_clip(file).frames, frames)
    read = {name: read_clip(file) for name, file in found.items()}
    assert read["a"].facts.sha256 == read["b"].facts.sha256
    assert (read["a"].fps, read["b"].fps) == (None, 8)
    assert read["a"].decoder == "pillow png"
    assert "ffv1" in read["b"].decoder


@given(seeds(), st.integers(0, 2), st.integers(0, 15))
def test_one_changed_pixel_changes_the_digest(seed, frame, row):
    frames = clip(seed)
    other = frames.copy()
    other[frame, row, 0, 0] ^= 1
    facts = [ClipFacts(3, 16, 24, None, "", _sha(part)) for part in (frames, other)]
    assert set_digest({"a": facts[0]}) != set_digest({"a": facts[1]})
    assert set_digest({"a": facts[0]}) != set_digest({"b": facts[0]})


def _sha(frames):
    from directanimator.metrics.clip_folder import Clip

    return Clip(frames, None, "").facts.sha256


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root.rmdir(), "no such folder"),
        (lambda root: None, "the folder is empty; want videos"),
        (lambda root: (root / "notes.txt").write_text("x"), "holds no clip"),
        (lambda root: Image.new("RGB", (4, 4)).save(root / "a.png"), "holds loose images"),
        (lambda root: [(root / name).write_bytes(b"") for name in ("a.mp4", "a.mkv")], "two clips are named 'a'"),
    ],
)
def test_folders_without_clips_are_refused(tmp_path, make, message):
    folder = tmp_path / "clips"
    folder.mkdir()
    make(folder)
    with pytest.raises(UserError, match=rf"target=.*{message}"):
        clips_of(folder, "target")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(UserError, match="is a file, want a folder"):
        clips_of(tmp_path / "x", "generated")


def test_references_may_be_stills(tmp_path):
    Image.fromarray(clip(0)[0]).save(tmp_path / "a.png")
    (file,) = clips_of(tmp_path, "reference").values()
    np.testing.assert_array_equal(read_clip(file).frames, clip(0)[:1])


def test_frames_of_several_sizes_are_refused(tmp_path):
    write_frames(tmp_path / "a", clip(0))
    Image.fromarray(clip(0, height=8)[0]).save(tmp_path / "a" / "frame_9.png")
    with pytest.raises(UserError, match="2 sizes"):
        read_clip(clips_of(tmp_path, "target")["a"])


FACTS = ClipFacts(16, 64, 48, 8.0, "pillow png", "0")
CHANGES = {
    "frames": ("a: generated 15, target 16 frames", FACTS.__class__(15, 64, 48, 8.0, "", "")),
    "size": ("a: generated 32x48, target 64x48 pixels", FACTS.__class__(16, 32, 48, 8.0, "", "")),
    "fps": ("a: generated 25, target 8 frames per second", FACTS.__class__(16, 64, 48, 25.0, "", "")),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_each_difference_is_named(change):
    line, other = CHANGES[change]
    assert differences({"a": FACTS}, {"a": other}, "generated") == {"a": [line]}


def test_other_names_are_differences_and_equal_clips_are_none():
    assert differences({"a": FACTS, "b": FACTS}, {"b": FACTS, "c": FACTS}, "generated") == {
        "a": ["a: not in generated"],
        "c": ["c: in generated, not in target"],
    }


def test_an_unknown_rate_agrees_with_any_and_drivers_may_have_another_size():
    assert differences({"a": FACTS}, {"a": ClipFacts(16, 64, 48, None, "", "")}, "generated") == {}
    assert differences({"a": FACTS}, {"a": ClipFacts(16, 128, 96, 8.0, "", "")}, "driving") == {}
    assert differences({"a": FACTS}, {"a": ClipFacts(1, 128, 96, None, "", "")}, "reference") == {}
    assert differences({"a": FACTS}, {"a": ClipFacts(9, 64, 48, 8.0, "", "")}, "driving")
