"""Animates a real picture: `python -m directanimator.animate reference=a.png driving=b.mp4 output=c.mp4`.

The person of the reference does what the person of the driving video does. Beside the output, a second video shows
the driving cues that the model was told. Files are written when all is done, or not at all."""

import math
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from pydantic import ConfigDict, ValidationError
from torch import Tensor

from directanimator.cues.alignment import align
from directanimator.cues.canvas import resize
from directanimator.cues.framing import person_box, plan_crop
from directanimator.cues.person import PersonTrack
from directanimator.cues.preview import cue_strip
from directanimator.cues.spec import CueSpec
from directanimator.cues.triplet import DrivingCues, driving_cues, dropped
from directanimator.data.items import SOURCE_SCALE
from directanimator.data.spec import DataSpec
from directanimator.errors import UserError, did_you_mean
from directanimator.frozen import FrozenSpec
from directanimator.model.codec import VideoCodec, to_frames, to_video
from directanimator.model.cue_fusion import CueFusionTransformer
from directanimator.model.embedded import load_codec, load_transformer
from directanimator.model.spec import ModelSpec
from directanimator.objective.spec import SamplingSpec
from directanimator.perception.mediapipe import MediapipePerception
from directanimator.perception.person import PersonPerception, require_one_person, require_person
from directanimator.pipeline import generate
from directanimator.places import runs_root
from directanimator.progress import progress
from directanimator.training.prepared import cue_latents, encode_cues, without_disabled
from directanimator.training.spec import OptimSpec
from directanimator.training.stages import null_text
from directanimator.video import read_image, read_video, write_video

USAGE = "python -m directanimator.animate reference=a.png driving=b.mp4 output=c.mp4"
HELP = f"""{USAGE} [key=value ...]

  reference=FILE   picture of the one person to animate
  driving=FILE     video of the one person whose motion is followed
  output=FILE.mp4  result, as long as the driving video; FILE_cues.mp4 beside it shows
                   frame, mask, pose cue, face cue and location cue
  checkpoint=DIR   a run's model directory; default: the newest finished run's
  seed=0           of the sampler's noise
  fps=..           frames per second that the model makes; default: what it was trained on
  scale=4          side of an output pixel block in canvas pixels (Lanczos); 1 writes the canvas as it is
  --debug          show the traceback of an error"""
REQUIRED = ("reference", "driving", "output")
KEYS = (*REQUIRED, "checkpoint", "seed", "fps", "scale")
OPTIONS = ("--debug", "--help")

NUM_PANELS = 5
MAX_VIDEO_SIDE = 16384
"""Widest picture that H.264 holds."""
_TINY = 1e-6
BAD_INPUT, INTERRUPTED = 2, 130


# ---------------------------------------------------------------- words to a request


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    reference: Path
    driving: Path
    output: Path
    checkpoint: Path | None = None
    seed: int = 0
    fps: float | None = None
    scale: int = 4

    @property
    def preview(self) -> Path:
        """Where the cues are shown."""
        return self.output.with_name(f"{self.output.stem}_cues.mp4")


def parse(tokens: Sequence[str]) -> Request:
    """The request of the `key=value` words.

    Raises: UserError for an unknown, repeated or missing key, or an illegal value."""
    words: dict[str, str] = {}
    for token in tokens:
        key, sign, text = token.partition("=")
        if key not in KEYS:
            raise UserError(f"unknown key {key!r}: known are {', '.join(KEYS)}{did_you_mean(key, KEYS)}")
        if not sign or not text:
            raise UserError(f"{key} needs a value: {key}=...")
        if key in words:
            raise UserError(f"{key} is given twice: {words[key]} and {text}")
        words[key] = text
    missing = [key for key in REQUIRED if key not in words]
    if missing:
        raise UserError(f"missing {', '.join(f'{key}=...' for key in missing)}; usage: {USAGE}")
    return Request(
        reference=Path(words["reference"]),
        driving=Path(words["driving"]),
        output=Path(words["output"]),
        checkpoint=Path(words["checkpoint"]) if "checkpoint" in words else None,
        seed=_whole(words, "seed", 0, 0, 2**63 - 1),
        fps=_rate(words),
        scale=_whole(words, "scale", 4, 1, 16),
    )


def _whole(words: dict[str, str], key: str, default: int, least: int, most: int) -> int:
    text = words.get(key, str(default))
    if not (text.isascii() and text.isdecimal() and least <= int(text[:20]) <= most):
        raise UserError(f"{key}={text}: want a whole number {least}..{most}")
    return int(text)


def _rate(words: dict[str, str]) -> float | None:
    if "fps" not in words:
        return None
    try:
        fps = float(words["fps"])
    except ValueError:
        fps = math.nan
    if not 0.1 <= fps <= 120:
        raise UserError(f"fps={words['fps']}: want 0.1..120 frames per second")
    return fps


def check_files(request: Request) -> None:
    """Nothing; finds out before the work begins whether its result could be written.

    Raises: UserError if an input is missing, or the output is no .mp4, would replace an input, or has no place."""
    for path in (request.reference, request.driving):
        if not path.is_file():
            raise UserError(f"{path}: no such file")
    output, folder = request.output, request.output.parent
    if output.suffix.lower() != ".mp4":
        raise UserError(f"output={output}: want a name that ends in .mp4")
    inputs = {path.resolve() for path in (request.reference, request.driving)}
    for path in (output, request.preview):
        if path.resolve() in inputs:
            raise UserError(f"output={output}: {path} is an input and would be replaced")
        if path.is_dir():
            raise UserError(f"output={output}: {path} is a directory")
    if not folder.is_dir():
        raise UserError(f"output={output}: there is no directory {folder}")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"output={output}: cannot write into {folder}: {error.strerror}") from error


# ---------------------------------------------------------------- time: which frames


def shown_at(count: int, fps: float, rate: float) -> Int64[np.ndarray, " k"]:
    """Which of `count` frames at `fps` is on the screen at time k / rate, for as long as the clip lasts."""
    ticks = np.arange(max(1, math.ceil(count / fps * rate - _TINY)))
    return np.minimum(np.floor(ticks * fps / rate + _TINY).astype(np.int64), count - 1)


def nearest_in_time(count: int, fps: float, made: int, rate: float) -> Int64[np.ndarray, " f"]:
    """For each of `count` frames at `fps`, the nearest in time of `made` frames at `rate`."""
    return np.minimum(np.floor(np.arange(count) * rate / fps + 0.5).astype(np.int64), made - 1)


@dataclass(frozen=True)
class Window:
    """What the model makes in one go."""

    frames: tuple[int, ...]
    """Numbers of the clip's frames; the last one repeated where the clip ends."""
    first: int
    stop: int
    """Positions first..stop - 1 go to the output."""


def plan_windows(count: int, length: int) -> list[Window]:
    """Windows of `length` frames over a clip; each begins with the last frame of the one before, which is dropped."""
    shared = min(1, length - 1)
    starts = range(0, max(count - shared, 1), length - shared)
    return [
        Window(
            frames=tuple(min(start + k, count - 1) for k in range(length)),
            first=shared if start else 0,
            stop=min(length, count - start),
        )
        for start in starts
    ]


def at_frames(cues: DrivingCues, frames: Sequence[int]) -> DrivingCues:
    """The cues of the chosen frames, in their order."""
    chosen = list(frames)
    return DrivingCues(**{field.name: getattr(cues, field.name)[chosen] for field in fields(cues)})


# ---------------------------------------------------------------- space: which part of the frames


@dataclass(frozen=True, eq=False)
class Subject:
    """A person in square frames."""

    frames: UInt8[np.ndarray, "f s s 3"]
    track: PersonTrack


def watch(frames: UInt8[np.ndarray, "f h w 3"], perception: PersonPerception, side: int, where: str) -> Subject:
    """The person of a clip in square frames of `side` pixels that hold the person throughout.

    Raises: UserError if there is none."""
    track = perception.track(frames)
    require_person(track, where)
    crop = plan_crop(person_box(track), *track.size)
    cut = crop.cut(frames, empty_outside=False)
    return Subject(resize(cut, side), crop.cut_track(track).resized(side))


# ---------------------------------------------------------------- the model


class CheckpointSpec(FrozenSpec):
    """The part of an experiment's spec that its model needs to be used; the rest is not read."""

    model_config = ConfigDict(extra="ignore")

    data: DataSpec
    cues: CueSpec
    model: ModelSpec
    optim: OptimSpec
    sampling: SamplingSpec


@dataclass(frozen=True, eq=False)
class Animator:
    """A trained model and all that is needed to use it."""

    spec: CheckpointSpec
    model: CueFusionTransformer
    codec: VideoCodec

    def animate(
        self, reference: UInt8[np.ndarray, "1 s s 3"], cues: DrivingCues, seed: int
    ) -> UInt8[np.ndarray, "f s s 3"]:
        """One frame per frame of the cues, window by window, every window from the same noise."""
        with torch.no_grad():
            latents = self.codec.encode(to_video(reference))
        shape = (1, self.spec.data.latent_frames, *latents.shape[2:])
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        windows = plan_windows(cues.num_frames, self.spec.data.num_frames)
        made = [
            self._window(latents, at_frames(cues, window.frames), noise)[window.first : window.stop]
            for window in progress(windows, "animating", total=len(windows))
        ]
        return np.concatenate(made)

    def _window(
        self, reference: Float[Tensor, "1 1 c lh lw"], cues: DrivingCues, noise: Float[Tensor, "1 lf c lh lw"]
    ) -> UInt8[np.ndarray, "f s s 3"]:
        told = cue_latents([without_disabled(encode_cues(cues, self.codec), self.spec.cues)])
        text = null_text(1, self.spec.model)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.spec.optim.precision == "bf16"):
            return to_frames(generate(self.model, self.codec, reference, text, told, noise, self.spec.sampling))[0]


def default_checkpoint() -> Path:
    """The model directory of the newest finished cross-ID run.

    Raises: UserError if there is none."""
    specs = [p for p in runs_root().glob("cross_id-*/model/spec.json") if (p.parent / "transformer").is_dir()]
    if not specs:
        raise UserError(f"no finished run in {runs_root()}: run `make demo` first, or give checkpoint=DIR")
    return max(specs, key=lambda path: path.stat().st_mtime).parent


def load_animator(directory: Path, codec: VideoCodec) -> Animator:
    """The model of a checkpoint directory: `spec.json` and `transformer/`.

    Raises: UserError if it is missing, damaged, or of another architecture than its spec or the codec."""
    spec = _read_spec(directory / "spec.json")
    if spec.model.latent_channels != codec.latent_channels:
        raise UserError(
            f"{directory} is made for latents of {spec.model.latent_channels} channels, the codec's have "
            f"{codec.latent_channels}; want a checkpoint of model.codec=embedded"
        )
    return Animator(spec, load_transformer(directory / "transformer", spec.model), codec)


def _read_spec(path: Path) -> CheckpointSpec:
    if not path.is_file():
        raise UserError(f"checkpoint={path.parent}: no {path.name} there; want a run's model directory")
    try:
        return CheckpointSpec.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path}: {place}: {first['msg']}") from error


# ---------------------------------------------------------------- the whole way


@dataclass(frozen=True, eq=False)
class Result:
    """The two videos, at the driving video's frames and rate, and what there is to say about them."""

    video: UInt8[np.ndarray, "f s s 3"]
    preview: UInt8[np.ndarray, "f s 5*s 3"]
    fps: float
    notes: tuple[str, ...]


def run(request: Request, animator: Animator, perception: PersonPerception) -> Result:
    """The animated reference and its cue preview on the canvas.

    Raises: UserError for inputs that cannot be read, or that do not show the one person wanted."""
    spec, size = animator.spec, animator.spec.data.size
    rate = request.fps or spec.data.fps
    reference = _watched_reference(request.reference, perception, size)
    clip = read_video(request.driving)
    count = len(clip.frames)
    frames = clip.frames[shown_at(count, clip.fps, rate)]
    driving = watch(frames, perception, size * SOURCE_SCALE, str(request.driving))
    alignment = align(driving.track, reference.track, spec.cues.location.align_by)
    cues = driving_cues(driving.frames, driving.track, alignment, size, spec.cues)
    made = animator.animate(reference.frames, cues, request.seed)
    shown = cue_strip(resize(driving.frames, size), driving.track.resized(size).mask, dropped(cues, spec.cues))
    back = nearest_in_time(count, clip.fps, len(made), rate)
    return Result(made[back], shown[back], clip.fps, tuple(_notes(request, spec, cues)))


def _watched_reference(path: Path, perception: PersonPerception, size: int) -> Subject:
    image = read_image(path)
    require_one_person(perception.faces(image), str(path))
    return watch(image[None], perception, size, str(path))


def _notes(request: Request, spec: CheckpointSpec, cues: DrivingCues) -> list[str]:
    notes = []
    if not cues.face_present.any():
        notes.append(f"no face is seen in {request.driving}: the face cue stays empty, the expression is not driven")
    if spec.data.source == "synthetic":
        notes.append("the embedded model has seen synthetic humans only: real people come out as rough figures")
    return notes


def enlarged(frames: UInt8[np.ndarray, "f h w 3"], scale: int, panels: int = 1) -> UInt8[np.ndarray, "f h2 w2 3"]:
    """The frames at `scale` times their size, by Lanczos; of `panels` side by side, none runs into the next."""
    if scale == 1:
        return frames
    parts = [np.concatenate(_lanczos(panel, scale)) for panel in np.split(frames, panels, axis=2)]
    return np.concatenate(parts, axis=1).reshape(len(frames), frames.shape[1] * scale, -1, 3)


def _lanczos(frames: UInt8[np.ndarray, "f h w 3"], scale: int) -> list[np.ndarray]:
    return [cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LANCZOS4) for frame in frames]


def write_both(request: Request, result: Result) -> None:
    """Nothing; both videos appear under their names only when both are whole.

    Raises: UserError if they cannot be written."""
    folder = request.output.parent
    videos = {
        request.output: enlarged(result.video, request.scale),
        request.preview: enlarged(result.preview, request.scale, NUM_PANELS),
    }
    with tempfile.TemporaryDirectory(prefix=f".{request.output.stem}.", dir=folder) as draft:
        for path, frames in videos.items():
            write_video(Path(draft) / path.name, frames, result.fps)
        for path in videos:
            os.replace(Path(draft) / path.name, path)


def _report(request: Request, result: Result) -> list[str]:
    lines = []
    for path, frames in ((request.output, result.video), (request.preview, result.preview)):
        count, height, width = (int(n) for n in frames.shape[:3])
        size = f"{width * request.scale}x{height * request.scale}"
        canvas = f"{width}x{height} enlarged {request.scale} times" if request.scale > 1 else "not enlarged"
        lines.append(f"{path}: {count} frames, {size} ({canvas}), {result.fps:g} fps, {count / result.fps:.2f} s")
    return [*lines, *(f"note: {note}" for note in result.notes)]


def _check_width(request: Request, size: int) -> None:
    most = MAX_VIDEO_SIDE // (NUM_PANELS * size)
    if request.scale > most:
        raise UserError(f"scale={request.scale}: a canvas of {size} px can be enlarged {most} times at most")


def _command(
    tokens: Sequence[str], make_perception: Callable[[], PersonPerception], make_codec: Callable[[], VideoCodec]
) -> None:
    request = parse(tokens)
    check_files(request)
    checkpoint = request.checkpoint or default_checkpoint()
    animator = load_animator(checkpoint, make_codec())
    _check_width(request, animator.spec.data.size)
    print(f"checkpoint {checkpoint}", flush=True)
    result = run(request, animator, make_perception())
    write_both(request, result)
    print("\n".join(_report(request, result)))


def main(
    arguments: Sequence[str] | None = None,
    make_perception: Callable[[], PersonPerception] = MediapipePerception,
    make_codec: Callable[[], VideoCodec] = load_codec,
) -> int:
    """The exit status: 0, 2 after bad input, 130 after an interruption; errors are one line on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    unknown = [word for word in given if word.startswith("-") and word not in OPTIONS]
    if not given or "--help" in given:
        print(HELP)
        return 0
    try:
        if unknown:
            raise UserError(f"unknown option {unknown[0]!r}{did_you_mean(unknown[0], OPTIONS)}")
        _command([word for word in given if word not in OPTIONS], make_perception, make_codec)
    except UserError as error:
        if "--debug" in given:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("error: interrupted, nothing was written", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
