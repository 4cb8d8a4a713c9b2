"""Files <-> frames: videos through FFmpeg, stills through Pillow. Knows nothing of people, cues or models."""

import io
import itertools
import math
import struct
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import UInt8

from directanimator.atomic import atomic_write
from directanimator.errors import UserError

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL import Image

Item = TypeVar("Item")

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
"""What is taken for a video among the files of a folder."""

MAX_IMAGE_PIXELS = 100_000_000
"""Larger pictures are refused before they are decoded: a few kB of PNG can unpack to many GB."""

MAX_VIDEO_BYTES = 8 * 2**30
"""Most bytes of a video's decoded frames. While they are laid side by side, they are in memory twice."""

MAX_HOLD_S = 120
"""Longest that one picture may stay on the screen. Damaged time stamps would otherwise ask for millions of frames."""

_IMAGE_DAMAGE = (OSError, SyntaxError, ValueError, RuntimeError, TypeError, struct.error)
"""What Pillow raises for damaged files; the last three come from single formats, and from tags of a wrong type."""

_TICK = Fraction(1, 1000)
_RATE_IF_UNKNOWN = Fraction(25)
_X264 = {"crf": "12", "x264-params": "mbtree=0"}
"""Without x264's macroblock tree: on processors with AVX-512 it made other bytes of the same frames, call by call."""
_SOUND_OF_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
"""Sound that browsers and players take out of an .mp4 as it is."""
_SOUND_RATE = 48_000
"""Samples a second of sound that is encoded anew, where AAC does not have the source's rate."""


@dataclass(frozen=True)
class Video:
    """Upright RGB frames of square pixels at a constant rate."""

    frames: UInt8[np.ndarray, "f h w 3"]
    fps: float


@dataclass(frozen=True)
class FrameStream:
    """Upright RGB frames of square pixels at a constant rate, decoded while they are asked for."""

    frames: Iterator[UInt8[np.ndarray, "h w 3"]]
    """At least one; all of one size. A picture that is shown twice is the same array twice."""
    fps: float


@dataclass(frozen=True)
class _Still:
    """One decoded picture and until when it is shown, in seconds."""

    picture: "VideoFrame"
    end: Fraction


def videos_in(folder: Path) -> list[Path]:
    """The videos of a directory, sorted by name. Hidden files are none: some systems leave one beside every video."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    return sorted(path for path in found if not path.name.startswith("."))


def read_video(path: Path | str, fps: float | None = None) -> Video:
    """The frames of a video, 0..255 RGB, upright, at `fps` frames per second (the file's mean rate by default).

    Output frame k is the one on the screen at time k / fps, so a variable frame rate becomes constant and motion
    keeps its speed. Pixels come out square: where the file says that they are wider or narrower than high, as on DVDs,
    the stored width is stretched or shrunk by that ratio. All frames stay in memory: `open_video` is for long files.

    Raises: UserError if the file is missing, is no video, is cut short or has no frames."""
    with open_video(path, fps) as stream:
        frames: list[UInt8[np.ndarray, "h w 3"]] = []
        for frame in stream.frames:
            frames.append(frame)
            if frame.nbytes * len(frames) > MAX_VIDEO_BYTES:
                limit = f"{MAX_VIDEO_BYTES >> 30} GiB"
                raise UserError(f"{path}: the frames fill more than {limit}; cut the video, or make it smaller")
    return Video(np.stack(frames), stream.fps)


@contextmanager
def open_video(path: Path | str, fps: float | None = None) -> Iterator[FrameStream]:
    """The frames of `read_video`, one at a time: a long video needs no more memory than a short one.

    What is wrong with the file is said when the block reaches it, so write nothing final before the last frame.

    Raises: UserError as `read_video` does, and if the size of the frames changes or a picture is held too long."""
    path = Path(path)
    _check_rate(fps)
    with _opened(path) as container:
        with _readable(path):
            stream = _video_stream(container, path)
        stream.thread_type = "AUTO"
        rate = _rational(fps) if fps is not None else stream.average_rate or stream.guessed_rate or _RATE_IF_UNKNOWN
        frames = _resampled(_stills(container, stream, path), rate, _pixel_shape(stream), path)
        with closing(_OneAtATime(_of_one_size(frames, path))) as frames_of_block:
            yield FrameStream(frames_of_block, float(rate))


class _OneAtATime(Iterator[Item]):
    """The items of a generator for threads that take turns; closing waits for the one that is reading.

    Else a file would be closed under a thread that decodes it, which ends the process."""

    def __init__(self, items: Generator[Item, None, None]) -> None:
        self._items, self._turn = items, threading.Lock()

    def __next__(self) -> Item:
        with self._turn:
            return next(self._items)

    def close(self) -> None:
        """Nothing; afterwards there is no further item."""
        with self._turn:
            self._items.close()


def _of_one_size(
    frames: Iterator[UInt8[np.ndarray, "h w 3"]], path: Path
) -> Generator[UInt8[np.ndarray, "h w 3"], None, None]:
    shape: tuple[int, ...] | None = None
    for frame in frames:
        shape = shape or frame.shape
        if frame.shape != shape:
            raise UserError(f"{path}: the size of the frames changes within the video; want one size")
        yield frame
    if shape is None:
        raise UserError(f"{path}: the video has no frames")


def write_video(path: Path | str, frames: UInt8[np.ndarray, "f h w 3"], fps: float) -> None:
    """Writes an H.264 yuv420p .mp4 that browsers play. It appears under its name only when it is whole.

    yuv420p needs even sides: an odd side grows by one, repeating the last row or column.

    Raises: UserError if there are no frames, the rate is not positive, or the file cannot be written."""
    if 0 in frames.shape:
        raise UserError(f"{path}: nothing to write, the frames have the shape {frames.shape}")
    write_frames(path, frames, fps)


def write_frames(
    path: Path | str, frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: float, sound: Path | None = None
) -> None:
    """As `write_video`, with each frame asked for when the one before is encoded; and the sound of another file.

    The sound, if that file has any, keeps its place in time and ends with the last frame. It is copied where an .mp4
    can hold it, and made AAC where not.
    Raises: UserError if there are no frames, the rate is not positive, a file cannot be read or written."""
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise UserError(f"{path}: a video is written as .mp4, not as {path.suffix or 'a name without a suffix'!r}")
    _check_rate(fps)
    import av

    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise UserError(f"{path}: nothing to write, there are no frames")

    def write(draft: Path) -> None:
        with (
            av.open(str(draft), "w", options={"movflags": "faststart"}) as container,
            _picture_and_sound(container, _rational(fps), sound) as (stream, write_sound_until),
        ):
            _encode(container, stream, itertools.chain([first], pictures), _rational(fps), write_sound_until)

    try:
        atomic_write(path, write)
    except (OSError, av.error.FFmpegError) as error:
        raise UserError(f"{path}: cannot write the video: {_reason(error)}") from error


def read_image(path: Path | str) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of a still, 0..255 RGB, upright. Transparency is laid on white; gray becomes RGB; 16 bit becomes 8.

    White is what image viewers show behind a cut-out person. Of an animation, the first picture.

    Raises: UserError if the file is missing, is no image, is damaged or is larger than `MAX_IMAGE_PIXELS`."""
    from PIL import Image, ImageOps

    path = _existing_file(Path(path))
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise UserError(f"{path}: {image.width}x{image.height} is too large; want <= {MAX_IMAGE_PIXELS} pixels")
            return np.asarray(_on_white(_to_8_bit(ImageOps.exif_transpose(image))))
    except UserError:
        raise
    except (*_IMAGE_DAMAGE, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{path}: not a readable image: {_reason(error)}") from error


def png_of(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """The picture as the bytes of a PNG file, the same for the same pixels."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def fit_square(frames: UInt8[np.ndarray, "f h w 3"], size: int) -> UInt8[np.ndarray, "f s s 3"]:
    """The largest central square of each frame, 0..255, at `size` pixels a side.

    Shrinking averages areas, so it neither aliases nor shifts the mean; enlarging is bilinear."""
    import cv2

    side = min(frames.shape[1:3])
    top, left = (frames.shape[1] - side) // 2, (frames.shape[2] - side) // 2
    square = frames[:, top : top + side, left : left + side]
    method = cv2.INTER_AREA if size <= side else cv2.INTER_LINEAR
    resized = np.empty((len(frames), size, size, 3), np.uint8)
    for target, frame in zip(resized, square, strict=True):
        target[:] = cv2.resize(frame, (size, size), interpolation=method)
    return resized


def _check_rate(fps: float | None) -> None:
    if fps is not None and not 0.01 <= fps <= 1000:
        raise UserError(f"fps={fps}: want 0.01..1000 frames per second")


def _rational(fps: float) -> Fraction:
    """The rate as the simple fraction that was meant: 29.97002997... is 30000/1001."""
    return Fraction(fps).limit_denominator(1_000_000 if fps < 1 else 1001)


def _existing_file(path: Path) -> Path:
    if path.is_dir():
        raise UserError(f"{path}: is a directory, want a file")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    return path


def _reason(error: BaseException) -> str:
    """What went wrong, without the file's name, in one line."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__).splitlines()[0]


@contextmanager
def _opened(path: Path) -> Iterator["InputContainer"]:
    """The container, or one line that says why not. Nothing but this file can be read through it."""
    import av

    _existing_file(path)
    place, options = f"file:{path.resolve()}", {"protocol_whitelist": "file"}
    with _readable(path):
        # Titles and the like may be in any encoding, or damaged; nobody reads them here.
        opened = av.open(place, options=options, metadata_errors="replace")
    with opened as container:
        if container.format.name == "concat":  # a text that names other files, which could change unseen
            raise UserError(f"{path}: is a list of videos, want a video")
        yield container


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """A block of reading alone, whose errors are those of the file."""
    import av

    try:
        yield
    except (OSError, av.error.FFmpegError) as error:
        raise UserError(f"{path}: not a readable video (another format, or cut short): {_reason(error)}") from error


def _read(items: Iterable[Item], path: Path) -> Iterator[Item]:
    """The items of a file; what goes wrong where they are used is none of its errors."""
    with _readable(path):
        yield from items


def _video_stream(container: "InputContainer", path: Path) -> "VideoStream":
    kind = container.format.name
    # A header that was cut or damaged may leave a stream without a codec.
    if not container.streams.video or container.streams.video[0].codec_context is None or kind == "tty":
        raise UserError(f"{path}: the file has no video stream")
    if kind.endswith("_pipe") or kind == "image2":
        raise UserError(f"{path}: is a still image, want a video")
    stream = container.streams.video[0]
    width = max(stream.width, _shown_width(stream.width, _pixel_shape(stream)))
    if width * stream.height > MAX_IMAGE_PIXELS:
        raise UserError(f"{path}: {width}x{stream.height} is too large; want <= {MAX_IMAGE_PIXELS} pixels")
    return stream


def _pixel_shape(stream: "VideoStream") -> Fraction:
    """Width of a stored pixel in heights; 1 where the file does not say it."""
    return stream.sample_aspect_ratio or Fraction(1)


def _shown_width(width: int, pixel: Fraction) -> int:
    """The width of a stored picture in square pixels, at least 1."""
    return max(1, round(width * pixel))


def _whole_packets(container: "InputContainer", stream: "VideoStream", path: Path) -> Iterator["Packet[VideoStream]"]:
    """The packets of the stream. A damaged one, or an index that points beyond the end of the file, is an error."""
    promised = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    if promised > path.stat().st_size:
        raise UserError(f"{path}: the video is cut short: {path.stat().st_size} of at least {promised} bytes are there")
    for number, packet in enumerate(container.demux(stream)):
        if packet.is_corrupt:
            raise UserError(f"{path}: the video is damaged or cut short at packet {number}")
        yield packet


def _stills(container: "InputContainer", stream: "VideoStream", path: Path) -> Iterator[_Still]:
    """Decoded frames, the first at time 0. A frame lasts until the next one; the last lasts as long as it says."""
    rate = stream.average_rate or stream.guessed_rate or _RATE_IF_UNKNOWN
    base = stream.time_base or 1 / rate
    packets = _whole_packets(container, stream, path)
    frames = _read((frame for packet in packets for frame in packet.decode()), path)
    first: Fraction | None = None
    previous: tuple[VideoFrame, Fraction] | None = None
    for index, frame in enumerate(frames):
        stamp = index / rate if frame.pts is None else frame.pts * base
        first = stamp if first is None else first
        if previous is not None:
            yield _Still(previous[0], stamp - first)
        previous = frame, stamp - first
    if previous is not None:
        frame, start = previous
        lasts = frame.duration * base if frame.duration else 1 / rate
        yield _Still(frame, start + max(lasts, 2 * _TICK))


def _resampled(
    stills: Iterator[_Still], rate: Fraction, pixel: Fraction, path: Path
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """For k = 0, 1, ... the picture shown at k / rate. Stamps may be rounded (Matroska: to 1 ms), hence the tick."""
    k = 0
    for still in stills:
        shown = math.ceil((still.end - _TICK) * rate) - k
        if shown > MAX_HOLD_S * rate + 1:
            raise UserError(f"{path}: frame {k} stays for {float(shown / rate):.0f} s; the time stamps are damaged")
        if shown > 0:
            with _readable(path):
                pixels = _upright(still.picture, pixel)
            yield from itertools.repeat(pixels, shown)
            k += shown


def _upright(frame: "VideoFrame", pixel: Fraction) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels, turned as the file's display matrix says (phones store their videos lying on the side).

    They are made square first: the shape of a pixel is that of the picture as it is stored."""
    pixels = _squared(frame.to_ndarray(format="rgb24"), pixel)
    return np.ascontiguousarray(np.rot90(pixels, k=round(frame.rotation / 90) % 4))


def _squared(stored: UInt8[np.ndarray, "h w 3"], pixel: Fraction) -> UInt8[np.ndarray, "h w2 3"]:
    """The picture at the width at which its pixels are square: areas are averaged to shrink it, bilinear to enlarge."""
    import cv2

    height, stored_width, _ = stored.shape
    width = _shown_width(stored_width, pixel)
    if width == stored_width:
        return stored
    method = cv2.INTER_AREA if width < stored_width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(stored, (width, height), interpolation=method), np.uint8)


def _even(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    height, width, _ = frame.shape
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _encode(
    container: "OutputContainer",
    stream: "VideoStream",
    frames: Iterator[UInt8[np.ndarray, "h w 3"]],
    rate: Fraction,
    write_sound_until: Callable[[Fraction], None],
) -> None:
    import av

    for number, frame in enumerate(frames):
        pixels = np.ascontiguousarray(_even(frame))
        if number == 0:
            stream.height, stream.width = pixels.shape[:2]
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        write_sound_until((number + 1) / rate)
    container.mux(stream.encode(None))


@contextmanager
def _picture_and_sound(
    container: "OutputContainer", rate: Fraction, sound: Path | None
) -> "Iterator[tuple[VideoStream, Callable[[Fraction], None]]]":
    """The picture's stream, which comes first in the file, and what writes the sound beside it."""
    from av.video.reformatter import ColorRange, Colorspace

    stream = container.add_stream("libx264", rate=rate, options=_X264)
    stream.pix_fmt = "yuv420p"
    stream.codec_context.colorspace = Colorspace.ITU601
    stream.codec_context.color_range = ColorRange.MPEG
    with _sound_track(container, sound) as write_sound_until:
        yield stream, write_sound_until


@contextmanager
def _sound_track(container: "OutputContainer", source: Path | None) -> Iterator[Callable[[Fraction], None]]:
    """A function that writes the source's sound up to a time in seconds; it does nothing where there is none."""
    if source is None:
        yield lambda until: None
        return
    with _opened(source) as sounding:
        sound = next((stream for stream in sounding.streams.audio if stream.codec_context is not None), None)
        if sound is None:  # or one in a format that is not known
            yield lambda until: None
            return
        packets = _sound_packets(sounding, sound, container, source)
        held: list[tuple[Fraction, Packet[AudioStream]]] = []

        def write_until(until: Fraction) -> None:
            while True:
                entry = held.pop() if held else next(packets, None)
                if entry is None:
                    return
                if entry[0] >= until:
                    held.append(entry)
                    return
                container.mux(entry[1])

        yield write_until


def _picture_start(container: "InputContainer") -> Fraction:
    """When the picture begins, in seconds of the file's clock."""
    video = container.streams.video
    start = video[0].start_time if video else None
    return Fraction(0) if start is None else start * (video[0].time_base or Fraction(1))


def _sound_packets(
    source: "InputContainer", sound: "AudioStream", target: "OutputContainer", path: Path
) -> Iterator[tuple[Fraction, "Packet[AudioStream]"]]:
    """Start in seconds after the picture's, and packet, of a file's sound, ready for the target.

    The target's stream is made at once, since none can be added once its header is written."""
    import av

    zero = _picture_start(source)
    if sound.codec_context.name in _SOUND_OF_MP4:
        return _copied(_read(source.demux(sound), path), target.add_stream_from_template(sound), zero)
    layout = "stereo" if sound.channels > 1 else "mono"
    rate = sound.rate if sound.rate in (av.Codec("aac", "w").audio_rates or ()) else _SOUND_RATE
    made = target.add_stream("aac", rate=rate, layout=layout)
    return _encoded_anew(_read(source.decode(sound), path), made, zero)


def _copied(
    packets: Iterator["Packet[AudioStream]"], made: "AudioStream", zero: Fraction
) -> Iterator[tuple[Fraction, "Packet[AudioStream]"]]:
    for packet in packets:
        if packet.pts is None or packet.pts * packet.time_base < zero:
            continue
        packet.pts -= round(zero / packet.time_base)
        packet.dts = packet.pts
        packet.stream = made
        yield packet.pts * packet.time_base, packet


def _encoded_anew(
    frames: Iterator["AudioFrame"], made: "AudioStream", zero: Fraction
) -> Iterator[tuple[Fraction, "Packet[AudioStream]"]]:
    tick = Fraction(1, made.rate)
    for frame in itertools.chain(frames, [None]):
        if frame is not None:
            if frame.pts is None or frame.time_base is None or frame.pts * frame.time_base < zero:
                continue
            frame.pts, frame.time_base = round((frame.pts * frame.time_base - zero) / tick), tick
        for packet in made.encode(frame):
            yield (packet.pts or 0) * packet.time_base, packet


def _to_8_bit(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    samples = np.asarray(image, np.float64)
    full = 65535.0 if image.mode.startswith("I") else max(float(samples.max()), 1.0)
    return Image.fromarray((samples.clip(0, full) / full * 255).round().astype(np.uint8))


def _on_white(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if not image.has_transparency_data:
        return image.convert("RGB")
    cut_out = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", cut_out.size, "white"), cut_out).convert("RGB")
