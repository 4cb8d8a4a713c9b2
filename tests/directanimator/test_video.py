"""Files <-> frames: what is written comes back; what is broken is refused in one line."""

import contextlib
import re
import struct
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from directanimator import video
from directanimator.data.synthetic import pair_at, render_clip
from directanimator.errors import UserError
from directanimator.video import fit_square, open_video, read_image, read_video, write_video

FPS = st.sampled_from([0.5, 1.0, 7.3, 8.0, 12.5, 23.976, 24000 / 1001, 25.0, 29.97, 30000 / 1001, 59.94, 60.0, 120.0])


def smooth(num_frames: int, height: int, width: int, phase: float = 0.0) -> np.ndarray:
    """Slow waves in space and time, other ones in each channel."""
    f, y, x, c = np.meshgrid(*(np.arange(n) for n in (num_frames, height, width, 3)), indexing="ij")
    return (127.5 + 100 * np.sin(phase + f / 9 + y / 17 + x / 23 + c)).astype(np.uint8)


def brightness_steps(num_frames: int, step: int = 10) -> np.ndarray:
    """Frame k is plain gray of value k * step: it can be told apart after compression."""
    return np.repeat(np.arange(num_frames) * step, 32 * 32 * 3).reshape(num_frames, 32, 32, 3).astype(np.uint8)


def frame_numbers(frames: np.ndarray, step: int = 10) -> list[int]:
    return [round(value / step) for value in frames.mean(axis=(1, 2, 3))]


def write_with_stamps(path: Path, frames: np.ndarray, stamps_ms: list[int]) -> None:
    """A video whose frame k is shown from stamps_ms[k] on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for pixels, stamp in zip(frames, stamps_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def assert_one_line(caught: pytest.ExceptionInfo[UserError], path: Path) -> None:
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@given(st.integers(1, 9), st.integers(1, 20).map(lambda n: 2 * n), st.integers(1, 20).map(lambda n: 2 * n), FPS)
def test_reading_back_keeps_count_size_and_fps(
    tmp_path_factory: pytest.TempPathFactory, num_frames: int, height: int, width: int, fps: float
) -> None:
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    write_video(path, smooth(num_frames, height, width), fps)
    back = read_video(path)
    assert back.frames.shape == (num_frames, height, width, 3)
    assert back.fps == pytest.approx(fps, rel=1e-6)


@given(st.floats(0, 6.28), st.integers(8, 40).map(lambda n: 2 * n))
def test_smooth_content_survives_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, phase: float, width: int
) -> None:
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    frames = smooth(4, 48, width, phase)
    write_video(path, frames, 8.0)
    squared_error = np.mean((read_video(path).frames.astype(float) - frames) ** 2)
    assert 10 * np.log10(255**2 / max(squared_error, 1e-9)) > 30


@pytest.mark.parametrize("color", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (30, 200, 120)])
def test_colors_survive_the_round_trip(tmp_path: Path, color: tuple[int, int, int]) -> None:
    write_video(tmp_path / "a.mp4", np.full((3, 32, 32, 3), color, np.uint8), 8.0)
    assert np.abs(read_video(tmp_path / "a.mp4").frames.astype(int) - color).max() <= 4


def test_the_same_frames_are_the_same_bytes_whatever_lies_in_memory(tmp_path: Path) -> None:
    pair, rng = pair_at("test", 1, 3, 8.0), np.random.default_rng(0)
    frames = render_clip(pair.identity, pair.motion, pair.scene, pair.times, 32, pair.view).frames
    made = set()
    for number in range(40):
        clutter = [rng.random(30_000) for _ in range(number % 5)]
        write_video(tmp_path / "a.mp4", frames, 8.0)
        made.add((tmp_path / "a.mp4").read_bytes())
        del clutter
    assert len(made) == 1


def test_odd_sides_grow_by_one_and_repeat_the_edge(tmp_path: Path) -> None:
    frames = smooth(3, 33, 41)
    write_video(tmp_path / "a.mp4", frames, 8.0)
    back = read_video(tmp_path / "a.mp4").frames
    assert back.shape == (3, 34, 42, 3)
    assert np.abs(back[:, -1].astype(int) - back[:, -2]).mean() < 4


def test_browsers_can_play_what_is_written(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", smooth(3, 32, 32), 8.0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_halving_the_rate_takes_every_second_frame(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", brightness_steps(11), 16.0)
    assert frame_numbers(read_video(tmp_path / "a.mp4", fps=8.0).frames) == [0, 2, 4, 6, 8, 10]


def test_doubling_the_rate_shows_every_frame_twice(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", brightness_steps(4), 8.0)
    assert frame_numbers(read_video(tmp_path / "a.mp4", fps=16.0).frames) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_variable_frame_rate_is_read_by_time(tmp_path: Path) -> None:
    write_with_stamps(tmp_path / "a.mp4", brightness_steps(5), [0, 100, 400, 450, 800])
    numbers = frame_numbers(read_video(tmp_path / "a.mp4", fps=10.0).frames)
    assert numbers[:9] == [0, 1, 1, 1, 2, 3, 3, 3, 4]


def test_stamps_rounded_to_milliseconds_lose_no_frame(tmp_path: Path) -> None:
    write_with_stamps(tmp_path / "a.mkv", brightness_steps(20), [round(1000 * k / 30) for k in range(20)])
    assert frame_numbers(read_video(tmp_path / "a.mkv", fps=30.0).frames)[:20] == list(range(20))


@pytest.mark.parametrize(("degrees", "bright_side"), [(90, "bottom"), (180, "right"), (270, "top"), (0, "left")])
def test_rotation_metadata_is_applied(tmp_path: Path, degrees: int, bright_side: str) -> None:
    """The stored picture is bright on the left; the display matrix turns it counterclockwise."""
    frame = np.zeros((16, 32, 3), np.uint8)
    frame[:, :8] = 255
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 32, "yuv420p"
        stream.set_display_rotation(degrees)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    (upright,) = read_video(tmp_path / "a.mp4").frames
    sides = {"top": upright[0], "bottom": upright[-1], "left": upright[:, 0], "right": upright[:, -1]}
    assert max(sides, key=lambda name: sides[name].mean()) == bright_side


def write_with_oblong_pixels(
    path: Path, frames: np.ndarray, pixel: Fraction | None, degrees: int = 0, codec: str = "libx264"
) -> None:
    """A video whose pixels are `pixel` times as wide as high."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        if pixel:
            stream.codec_context.sample_aspect_ratio = pixel
        if degrees:
            stream.set_display_rotation(degrees)
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


@given(
    st.fractions(Fraction(1, 3), 3, max_denominator=40),
    st.tuples(*[st.integers(8, 40).map(lambda n: 2 * n)] * 2),
    st.sampled_from([0, 90, 180, 270]),
)
def test_oblong_pixels_are_read_as_square_ones(tmp_path_factory: pytest.TempPathFactory, pixel, sides, degrees) -> None:
    height, width = sides
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    write_with_oblong_pixels(path, smooth(2, height, width), pixel, degrees)
    shown = (height, round(width * pixel))
    assert read_video(path).frames.shape == (2, *(shown if degrees in (0, 180) else shown[::-1]), 3)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("pixel", [Fraction(4, 3), Fraction(3, 4)])
def test_a_circle_of_oblong_pixels_is_round(tmp_path: Path, suffix: str, pixel: Fraction) -> None:
    rows, columns = np.indices((108, 144)) + 0.5
    disk = np.hypot((columns - 72) * float(pixel), rows - 54) < 30
    write_with_oblong_pixels(tmp_path / f"a.{suffix}", np.repeat(disk[None, ..., None] * np.uint8(255), 3, -1), pixel)
    (frame,) = read_video(tmp_path / f"a.{suffix}").frames
    there = frame.mean(axis=-1) > 128
    assert np.abs(np.array([there.any(axis=axis).sum() for axis in (0, 1)]) - 60).max() <= 2
    assert np.abs(np.argwhere(there).mean(axis=0) + 0.5 - np.array(there.shape) / 2).max() < 0.6


@pytest.mark.parametrize("pixel", [None, Fraction(1), Fraction(1000, 1001)])
def test_square_pixels_stay_as_they_are(tmp_path: Path, pixel: Fraction | None) -> None:
    write_with_oblong_pixels(tmp_path / "a.mp4", smooth(2, 32, 48), pixel)
    write_with_oblong_pixels(tmp_path / "b.mp4", smooth(2, 32, 48), None)
    np.testing.assert_array_equal(read_video(tmp_path / "a.mp4").frames, read_video(tmp_path / "b.mp4").frames)


def test_pixels_so_wide_that_a_frame_would_be_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_with_oblong_pixels(tmp_path / "a.mp4", smooth(1, 32, 32), Fraction(4))
    monkeypatch.setattr(video, "MAX_IMAGE_PIXELS", 2 * 32 * 32)
    with pytest.raises(UserError, match="128x32 is too large") as caught:
        read_video(tmp_path / "a.mp4")
    assert_one_line(caught, tmp_path / "a.mp4")


def text_renamed(path: Path) -> None:
    path.write_text("not a video\n" * 100)


def empty(path: Path) -> None:
    path.touch()


def directory(path: Path) -> None:
    path.mkdir()


def missing(path: Path) -> None:
    del path


def audio_only(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))


def list_of_videos(path: Path) -> None:
    write_video(path.parent / "real.mp4", smooth(2, 32, 32), 8.0)
    path.write_text("ffconcat version 1.0\nfile real.mp4\n")


def still_image(path: Path) -> None:
    Image.new("RGB", (32, 32)).save(path, format="PNG")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (text_renamed, "not a readable video"),
        (empty, "not a readable video"),
        (directory, "is a directory"),
        (missing, "no such file"),
        (audio_only, "no video stream"),
        (still_image, "still image"),
        (list_of_videos, "list of videos"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    make(tmp_path / "a.mp4")
    with pytest.raises(UserError, match=says) as caught:
        read_video(tmp_path / "a.mp4")
    assert_one_line(caught, tmp_path / "a.mp4")


@given(st.floats(0, 0.999))
def test_a_truncated_video_is_refused_wherever_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    write_video(path, smooth(6, 32, 32), 8.0)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError) as caught:
        read_video(path)
    assert_one_line(caught, path)


def test_a_video_that_does_not_fit_in_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4", smooth(6, 32, 32), 8.0)
    monkeypatch.setattr(video, "MAX_VIDEO_BYTES", 5 * 32 * 32 * 3)
    with pytest.raises(UserError, match="fill more than"):
        read_video(tmp_path / "a.mp4")
    monkeypatch.setattr(video, "MAX_VIDEO_BYTES", 6 * 32 * 32 * 3)
    assert len(read_video(tmp_path / "a.mp4").frames) == 6


def test_what_goes_wrong_where_frames_are_used_is_no_fault_of_the_video(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", smooth(6, 32, 32), 8.0)

    def use() -> None:
        with video.open_video(tmp_path / "a.mp4") as stream:
            next(stream.frames)
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        use()


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_no_rate_is_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(UserError, match="fps"):
        write_video(tmp_path / "a.mp4", smooth(1, 8, 8), fps)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (2, 0, 8, 3)])
def test_nothing_to_write_is_refused_and_leaves_no_file(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="nothing to write"):
        write_video(tmp_path / "a.mp4", np.zeros(shape, np.uint8), 8.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.png", "a", "file/a.mp4"])
def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError) as caught:
        write_video(tmp_path / name, smooth(1, 8, 8), 8.0)
    assert_one_line(caught, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "a.mp4", smooth(2, 16, 16), 8.0)
    before = (tmp_path / "a.mp4").read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video, "_encode", full_disk)
    with pytest.raises(UserError, match="No space left"):
        write_video(tmp_path / "a.mp4", smooth(3, 16, 16), 8.0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == before


@pytest.mark.parametrize(
    ("mode", "color", "seen"),
    [
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("L", 70, (70, 70, 70)),
        ("LA", (70, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("1", 1, (255, 255, 255)),
        ("I;16", 128 * 257, (128, 128, 128)),
    ],
)
def test_every_kind_of_png_becomes_rgb_on_white(
    tmp_path: Path, mode: str, color: int | tuple[int, ...], seen: tuple[int, int, int]
) -> None:
    Image.new(mode, (5, 3), color).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png")
    assert pixels.shape == (3, 5, 3)
    assert (pixels == seen).all()


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    picture = Image.new("RGB", (32, 16))
    picture.paste((255, 255, 255), (0, 0, 8, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by a quarter
    picture.save(tmp_path / "a.jpg", exif=exif)
    pixels = read_image(tmp_path / "a.jpg")
    assert pixels.shape == (32, 16, 3)
    assert pixels[:4].mean() > 200 > 50 > pixels[-4:].mean()


@pytest.mark.parametrize("make", [text_renamed, empty, directory, missing])
def test_what_is_no_image_is_refused_in_one_line(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.png")
    with pytest.raises(UserError) as caught:
        read_image(tmp_path / "a.png")
    assert_one_line(caught, tmp_path / "a.png")


def exif_of_words(path: Path) -> None:
    """Turned by a quarter, and with a width that is a word, so that the tags cannot be written anew."""
    width = struct.pack(">HHI4s", 0x0100, 2, 4, b"abc\0")
    turned = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    tags = b"MM\0*" + struct.pack(">IH", 8, 2) + width + turned + bytes(4)
    Image.new("RGB", (32, 16)).save(path, format="JPEG", exif=b"Exif\0\0" + tags)


def texture_in_no_format(path: Path) -> None:
    Image.new("RGB", (8, 8)).save(path, format="DDS")
    data = bytearray(path.read_bytes())
    data[80:88] = struct.pack("<I4s", 4, b"XXXX")  # its pixels, says the header, are in a format of this name
    path.write_bytes(data)


@pytest.mark.parametrize("make", [exif_of_words, texture_in_no_format])
def test_a_damaged_image_is_refused_in_one_line(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.img")
    with pytest.raises(UserError, match="not a readable image") as caught:
        read_image(tmp_path / "a.img")
    assert_one_line(caught, tmp_path / "a.img")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "DDS", "AVIF"])
@given(data=st.data())
def test_an_image_with_wrong_bytes_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("image") / "a.img"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(path, format=kind)
    content = bytearray(path.read_bytes())
    at = st.integers(0, min(len(content), 300) - 1)
    for place, value in data.draw(st.dictionaries(at, st.integers(0, 255), min_size=1, max_size=3)).items():
        content[place] = value
    path.write_bytes(content)
    with contextlib.suppress(UserError), warnings.catch_warnings(action="ignore"):
        read_image(path)


@given(st.floats(0, 0.9))
def test_a_truncated_image_is_refused(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    path = tmp_path_factory.mktemp("image") / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=re.escape(str(path))):
        read_image(path)


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "MAX_IMAGE_PIXELS", 100)
    Image.new("RGB", (11, 10)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="too large"):
        read_image(tmp_path / "a.png")


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.integers(0, 255))
def test_fit_square_gives_the_wanted_size_and_keeps_a_plain_color(
    height: int, width: int, size: int, value: int
) -> None:
    squares = fit_square(np.full((2, height, width, 3), value, np.uint8), size)
    assert squares.shape == (2, size, size, 3)
    assert (squares == value).all()


@given(st.integers(1, 20), st.integers(0, 30))
def test_fit_square_of_a_frame_with_side_bars_sees_only_the_middle(side: int, bar: int) -> None:
    middle = np.full((1, side, side, 3), 200, np.uint8)
    barred = np.pad(middle, ((0, 0), (0, 0), (bar, bar), (0, 0)))
    assert (fit_square(barred, 7) == 200).all()


@given(st.integers(1, 4), st.integers(1, 16), st.integers(0, 2**32 - 1))
def test_shrinking_by_a_whole_factor_keeps_the_mean(factor: int, size: int, seed: int) -> None:
    frames = np.random.default_rng(seed).integers(0, 256, (1, factor * size, factor * size, 3), np.uint8)
    assert fit_square(frames, size).mean() == pytest.approx(frames.mean(), abs=0.51)


@given(st.sampled_from([None, 3.0, 8.0, 20.0]), st.integers(1, 12))
def test_a_stream_gives_the_frames_of_the_whole_video(
    tmp_path_factory: pytest.TempPathFactory, fps: float | None, count: int
) -> None:
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    write_video(path, smooth(count, 16, 24), 8.0)
    with open_video(path, fps) as stream:
        frames, rate = list(stream.frames), stream.fps
    whole = read_video(path, fps=fps)
    np.testing.assert_array_equal(np.stack(frames), whole.frames)
    assert rate == whole.fps


def test_a_stream_decodes_no_more_than_is_asked_for(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", smooth(300, 16, 16), 8.0)
    with open_video(tmp_path / "a.mp4") as stream:
        first, second = next(stream.frames), next(stream.frames)
    assert first.shape == second.shape == (16, 16, 3)


def test_a_file_is_not_closed_under_a_thread_that_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4", smooth(5, 16, 16), 8.0)
    reading, read = threading.Event(), threading.Event()

    def slowly(*_: object) -> np.ndarray:
        reading.set()
        time.sleep(0.2)
        read.set()
        return np.zeros((16, 16, 3), np.uint8)

    monkeypatch.setattr(video, "_upright", slowly)
    with ThreadPoolExecutor(1) as other:
        with open_video(tmp_path / "a.mp4") as stream:
            first = other.submit(next, stream.frames)
            assert reading.wait(timeout=30)
        assert read.is_set()
        assert first.result().shape == (16, 16, 3)
    assert next(stream.frames, None) is None


def test_a_picture_that_is_held_is_one_array(tmp_path: Path) -> None:
    write_with_stamps(tmp_path / "a.mp4", smooth(2, 32, 32), [0, 1000])
    with open_video(tmp_path / "a.mp4", fps=4.0) as stream:
        frames = list(stream.frames)
    assert frames[0] is frames[3]
    assert frames[3] is not frames[4]


def test_a_picture_that_is_held_for_hours_is_refused(tmp_path: Path) -> None:
    write_with_stamps(tmp_path / "a.mp4", smooth(3, 32, 32), [0, 100, 7_200_000])
    with pytest.raises(UserError, match="time stamps") as caught:
        read_video(tmp_path / "a.mp4", fps=25.0)
    assert_one_line(caught, tmp_path / "a.mp4")


@pytest.mark.parametrize(("height", "width"), [(48, 32), (33, 47), (31, 64)])
@pytest.mark.parametrize("depth", ["yuv420p10le", "yuv444p"])
def test_ten_bits_odd_sizes_and_portraits_are_read(tmp_path: Path, height: int, width: int, depth: str) -> None:
    frames, path = smooth(3, height, width), tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1" if depth == "yuv420p10le" else "libx264rgb", rate=8)
        stream.height, stream.width = height, width
        stream.pix_fmt = depth if depth == "yuv420p10le" else "rgb24"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    back = read_video(path)
    assert back.frames.shape == frames.shape
    assert np.abs(back.frames.astype(int) - frames).mean() < 6


def test_a_title_in_no_encoding_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, smooth(2, 16, 16), 8.0)
    data = path.read_bytes()
    assert b"Lavf" in data
    path.write_bytes(data.replace(b"Lavf", b"L\xe1vf"))
    assert read_video(path).frames.shape == (2, 16, 16, 3)
