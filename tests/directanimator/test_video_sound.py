"""Frames written one by one, and the sound of another file beside them."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import UInt8

from directanimator.errors import UserError
from directanimator.video import read_video, write_frames, write_video

FPS, RATE, PITCH = 10.0, 16000, 440
SILENT_S = 0.5


def frames_of(count: int, side: int = 16) -> UInt8[np.ndarray, "f s s 3"]:
    levels = np.linspace(30, 220, count).astype(np.uint8)
    return np.repeat(levels, side * side * 3).reshape(count, side, side, 3)


def write_with_tone(path: Path, count: int, codec: str, seconds: float | None = None, rate: int = RATE) -> None:
    """A video whose sound is silent for half a second, then a tone."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=int(FPS))
        picture.height, picture.width, picture.pix_fmt = 16, 16, "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout="mono")
        time = np.arange(int(rate * (seconds or count / FPS))) / rate
        wave = (0.5 * np.sin(2 * np.pi * PITCH * time) * (time >= SILENT_S)).astype(np.float32)
        for pixels in frames_of(count):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(picture.encode(None))
        resampler = av.AudioResampler(format=sound.codec_context.format, layout="mono", rate=rate)
        block = sound.codec_context.frame_size or 1024
        for start in range(0, len(wave), block):
            part = av.AudioFrame.from_ndarray(wave[None, start : start + block], format="fltp", layout="mono")
            part.sample_rate, part.pts = rate, start
            for frame in resampler.resample(part):
                container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def heard(path: Path) -> np.ndarray:
    """The samples of a file's sound, in their places in time from the first frame on."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return np.zeros(0)
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        samples = np.zeros(0)
        for frame in container.decode(audio=0):
            for part in resampler.resample(frame):
                data = part.to_ndarray()[0]
                start = round(float((frame.pts or 0) * frame.time_base) * RATE)
                samples = np.concatenate([samples, np.zeros(max(0, start + len(data) - len(samples)))])
                samples[max(start, 0) : start + len(data)] = data[max(-start, 0) :]
    return samples


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("in.mp4", "aac", RATE),
        ("in.mkv", "pcm_s16le", RATE),
        ("in.mkv", "flac", RATE),
        ("in.mkv", "flac", 192_000),
        ("in.mkv", "pcm_s16le", 11_127),
        ("in.mkv", "pcm_s16le", 6_000),
    ],
)
def test_sound_of_any_format_and_rate_is_carried_over_in_its_place(
    tmp_path: Path, name: str, codec: str, rate: int
) -> None:
    write_with_tone(tmp_path / name, 20, codec, rate=rate)
    write_frames(tmp_path / "out.mp4", frames_of(20), FPS, sound=tmp_path / name)
    out = heard(tmp_path / "out.mp4")
    assert len(out) / RATE == pytest.approx(2.0, abs=0.1)
    loud = np.abs(out).reshape(-1)[: 2 * RATE - RATE // 4]
    assert loud[: int((SILENT_S - 0.1) * RATE)].max() < 0.1
    tone = out[int((SILENT_S + 0.1) * RATE) : int(1.5 * RATE)]
    assert np.sqrt(np.mean(tone**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.2)
    pitch = np.argmax(np.abs(np.fft.rfft(tone))) * RATE / len(tone)
    assert pitch == pytest.approx(PITCH, abs=5)


def test_sound_that_nobody_can_decode_is_left_out(tmp_path: Path) -> None:
    write_with_tone(tmp_path / "in.mkv", 10, "pcm_s16le")
    known = (tmp_path / "in.mkv").read_bytes()
    assert known.count(b"A_PCM/INT/LIT") == 1
    (tmp_path / "in.mkv").write_bytes(known.replace(b"A_PCM/INT/LIT", b"A_XYZ/INT/LIT"))
    write_frames(tmp_path / "out.mp4", frames_of(10), FPS, sound=tmp_path / "in.mkv")
    assert len(heard(tmp_path / "out.mp4")) == 0
    assert len(read_video(tmp_path / "out.mp4").frames) == 10


def test_the_picture_is_the_first_stream(tmp_path: Path) -> None:
    write_with_tone(tmp_path / "in.mp4", 10, "aac")
    write_frames(tmp_path / "out.mp4", frames_of(10), FPS, sound=tmp_path / "in.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]


def test_sound_ends_with_the_picture(tmp_path: Path) -> None:
    write_with_tone(tmp_path / "in.mp4", 40, "aac")
    write_frames(tmp_path / "out.mp4", frames_of(10), FPS, sound=tmp_path / "in.mp4")
    assert len(heard(tmp_path / "out.mp4")) / RATE == pytest.approx(1.0, abs=0.1)


def test_sound_that_is_shorter_than_the_picture_stops_earlier(tmp_path: Path) -> None:
    write_with_tone(tmp_path / "in.mp4", 20, "aac", seconds=1.0)
    write_frames(tmp_path / "out.mp4", frames_of(20), FPS, sound=tmp_path / "in.mp4")
    assert len(heard(tmp_path / "out.mp4")) / RATE == pytest.approx(1.0, abs=0.15)
    assert len(read_video(tmp_path / "out.mp4").frames) == 20


def test_a_silent_source_gives_a_silent_video(tmp_path: Path) -> None:
    write_video(tmp_path / "in.mp4", frames_of(5), FPS)
    write_frames(tmp_path / "out.mp4", frames_of(5), FPS, sound=tmp_path / "in.mp4")
    assert len(heard(tmp_path / "out.mp4")) == 0


@settings(max_examples=8)
@given(count=st.integers(1, 12), side=st.integers(1, 9).map(lambda n: 2 * n))
def test_frames_one_by_one_are_written_as_all_at_once(
    tmp_path_factory: pytest.TempPathFactory, count: int, side: int
) -> None:
    folder = tmp_path_factory.mktemp("written")
    frames = frames_of(count, side)
    write_video(folder / "whole.mp4", frames, FPS)
    write_frames(folder / "single.mp4", (frame for frame in frames), FPS)
    assert (folder / "single.mp4").read_bytes() == (folder / "whole.mp4").read_bytes()


def test_a_source_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[UInt8[np.ndarray, "s s 3"]]:
        yield frames_of(1)[0]
        raise UserError("no more")

    with pytest.raises(UserError, match="no more"):
        write_frames(tmp_path / "out.mp4", broken(), FPS)
    with pytest.raises(UserError, match="nothing to write"):
        write_frames(tmp_path / "out.mp4", iter([]), FPS)
    assert list(tmp_path.iterdir()) == []
