"""Animates a real picture: `python -m directanimator.animate reference=a.png driving=b.mp4 output=c.mp4`.

The person of the reference does what the person of the driving video does. Beside the output, a second video shows
the driving cues that the model was told. Files are written when all is done, or not at all."""

import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Int64, UInt8

from directanimator.animator import CheckpointSpec, DirectAnimatorPipeline, at_frames, default_checkpoint
from directanimator.atomic import workplace
from directanimator.command import DEBUG, run_command
from directanimator.cues.alignment import align
from directanimator.cues.canvas import resize
from directanimator.cues.preview import cue_strip
from directanimator.cues.spec import TrustSpec
from directanimator.cues.triplet import DrivingCues, driving_cues, dropped
from directanimator.data.items import SOURCE_SCALE
from directanimator.errors import UserError
from directanimator.extraction.spec import PerceptionSpec
from directanimator.model.codec import VideoCodec
from directanimator.perception.mediapipe import MediapipePerception
from directanimator.perception.person import PersonPerception, require_one_person
from directanimator.subject import Subject, nearest_in_time, shown_at, watch
from directanimator.video import read_image, read_video, write_frames
from directanimator.windows import SeamReport, Seams
from directanimator.words import check_options, read_words, whole

USAGE = "python -m directanimator.animate reference=a.png driving=b.mp4 output=c.mp4"
HELP = f"""{USAGE} [key=value ...]

  reference=FILE   picture of the one person to animate
  driving=FILE     video of the one person whose motion is followed
  output=FILE.mp4  result, as long as the driving video and with its sound; FILE_cues.mp4
                   beside it shows frame, mask, pose cue, face cue and location cue
  checkpoint=DIR   a run's model directory; default: the newest finished run's
  prompt=TEXT      what the model is told in words, if it was trained with any; default: nothing
  seed=0           of the sampler's noise
  fps=..           frames per second that the model makes; default: what it was trained on
  overlap=..       frames that neighboring windows of a long video share; default: a quarter
  scale=4          side of an output pixel block in canvas pixels (Lanczos); 1 writes the canvas as it is
  --debug          show the traceback of an error"""
REQUIRED = ("reference", "driving", "output")
KEYS = (*REQUIRED, "checkpoint", "prompt", "seed", "fps", "overlap", "scale")
OPTIONS = (DEBUG, "--help")

NUM_PANELS = 5
MAX_VIDEO_SIDE = 16384
"""Widest picture that H.264 holds."""


# ---------------------------------------------------------------- words to a request


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    reference: Path
    driving: Path
    output: Path
    checkpoint: Path | None = None
    prompt: str = ""
    seed: int = 0
    fps: float | None = None
    overlap: int | None = None
    scale: int = 4

    @property
    def preview(self) -> Path:
        """Where the cues are shown."""
        return self.output.with_name(f"{self.output.stem}_cues.mp4")


def parse(tokens: Sequence[str]) -> Request:
    """The request of the `key=value` words.

    Raises: UserError for an unknown, repeated or missing key, or an illegal value."""
    words = read_words(tokens, KEYS)
    missing = [key for key in REQUIRED if key not in words]
    if missing:
        raise UserError(f"missing {', '.join(f'{key}=...' for key in missing)}; usage: {USAGE}")
    return Request(
        reference=Path(words["reference"]),
        driving=Path(words["driving"]),
        output=Path(words["output"]),
        checkpoint=Path(words["checkpoint"]) if "checkpoint" in words else None,
        prompt=words.get("prompt", ""),
        seed=whole(words, "seed", 0, 0, 2**63 - 1),
        fps=_rate(words),
        overlap=whole(words, "overlap", 0, 0, 1000) if "overlap" in words else None,
        scale=whole(words, "scale", 4, 1, 16),
    )


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


# ---------------------------------------------------------------- the whole way


@dataclass(frozen=True, eq=False)
class Scene:
    """What is animated by what: both in square frames, the driving at the model's rate."""

    reference: Subject
    driving: Subject
    cues: DrivingCues
    back: Int64[np.ndarray, " f"]
    """For every frame of the driving video, which frame at the model's rate is shown."""
    fps: float
    """The driving video's."""


@dataclass(frozen=True)
class Outcome:
    """What there is to say when all is written."""

    num_frames: int
    fps: float
    seams: SeamReport | None
    """None where one window held the whole video."""
    notes: tuple[str, ...]


def look(request: Request, spec: CheckpointSpec, perception: PersonPerception) -> Scene:
    """The reference and the driving video's cues.

    Raises: UserError for inputs that cannot be read, or that do not show the one person wanted."""
    size = spec.data.size
    rate = request.fps or spec.data.fps
    image = read_image(request.reference)
    require_one_person(perception.faces(image), str(request.reference))
    reference = watch(image[None], perception, size, str(request.reference))
    clip = read_video(request.driving)
    count = len(clip.frames)
    frames = clip.frames[shown_at(count, clip.fps, rate)]
    driving = watch(frames, perception, size * SOURCE_SCALE, str(request.driving))
    alignment = align(driving.track, reference.track, spec.cues.location.align_by)
    cues = driving_cues(driving.frames, driving.track, alignment, size, spec.cues, trust=TrustSpec())
    return Scene(reference, driving, cues, nearest_in_time(count, clip.fps, len(frames), rate), clip.fps)


def run(request: Request, pipeline: DirectAnimatorPipeline, perception: PersonPerception) -> Outcome:
    """Writes the animated reference and its cue preview, frame by frame as they are made.

    Both videos appear under their names only when both are whole. The frames of the driving video are let go before
    the model begins; what it makes is never held longer than a window.
    Raises: UserError for bad input, or if the files cannot be written."""
    text = pipeline.text_of(request.prompt) if request.prompt else None
    scene = look(request, pipeline.spec, perception)
    windows, seams = pipeline.windows(scene.cues.num_frames, request.overlap), Seams()
    made = pipeline(scene.reference.frames, scene.cues, request.seed, request.overlap, seams, text)
    strips = _strips(scene, pipeline.spec)
    videos = {
        request.output: _enlarged_each(_repeated(made, scene.back), request.scale, 1),
        request.preview: _enlarged_each(_repeated(strips, scene.back), request.scale, NUM_PANELS),
    }
    with workplace(request.output) as place:
        for path, frames in videos.items():
            sound = request.driving if path == request.output else None
            write_frames(place / path.name, frames, scene.fps, sound)
        for path in videos:
            os.replace(place / path.name, path)
    report = seams.report() if len(windows) > 1 else None
    return Outcome(len(scene.back), scene.fps, report, tuple(_notes(request, pipeline.spec, scene.cues)))


def _repeated(
    frames: Iterator[UInt8[np.ndarray, "h w 3"]], numbers: Int64[np.ndarray, " f"]
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The frames of these numbers, which never fall."""
    frame, at = next(frames), 0
    for number in numbers:
        while at < number:
            frame, at = next(frames), at + 1
        yield frame


def _strips(scene: Scene, spec: CheckpointSpec) -> Iterator[UInt8[np.ndarray, "s 5*s 3"]]:
    size = spec.data.size
    for k in range(scene.cues.num_frames):
        part = slice(k, k + 1)
        mask = scene.driving.track.part(part).resized(size).mask
        cues = dropped(at_frames(scene.cues, [k]), spec.cues)
        yield cue_strip(resize(scene.driving.frames[part], size), mask, cues)[0]


def _notes(request: Request, spec: CheckpointSpec, cues: DrivingCues) -> list[str]:
    notes = []
    if not cues.face_present.any():
        notes.append(f"no face is seen in {request.driving}: the face cue stays empty, the expression is not driven")
    if cues.num_frames < spec.data.num_frames:
        notes.append(
            f"the video lasts {cues.num_frames} frames at the model's rate, its window {spec.data.num_frames}: the "
            "window was filled with the last frame"
        )
    off = [name for name in ("pose", "face", "location") if not getattr(spec.cues, name).enabled]
    if off:
        notes.append(f"this model was trained without the {' and '.join(off)} cue; checkpoint=DIR names another")
    if spec.data.perception != PerceptionSpec():
        notes.append("this model was trained on what other nets saw; here people are found by MediaPipe's")
    if spec.data.source == "synthetic":
        notes.append("the embedded model has seen synthetic humans only: real people come out as rough figures")
    return notes


def _enlarged_each(
    frames: Iterator[UInt8[np.ndarray, "h w 3"]], scale: int, panels: int
) -> Iterator[UInt8[np.ndarray, "h2 w2 3"]]:
    return (enlarged(frame[None], scale, panels)[0] for frame in frames)


def enlarged(frames: UInt8[np.ndarray, "f h w 3"], scale: int, panels: int = 1) -> UInt8[np.ndarray, "f h2 w2 3"]:
    """The frames at `scale` times their size, by Lanczos; of `panels` side by side, none runs into the next."""
    if scale == 1:
        return frames
    parts = [np.concatenate(_lanczos(panel, scale)) for panel in np.split(frames, panels, axis=2)]
    return np.concatenate(parts, axis=1).reshape(len(frames), frames.shape[1] * scale, -1, 3)


def _lanczos(frames: UInt8[np.ndarray, "f h w 3"], scale: int) -> list[np.ndarray]:
    return [cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LANCZOS4) for frame in frames]


def _report(request: Request, outcome: Outcome, size: int) -> list[str]:
    lines = []
    for path, width in ((request.output, size), (request.preview, NUM_PANELS * size)):
        grown = f"{width * request.scale}x{size * request.scale}"
        canvas = f"{width}x{size} enlarged {request.scale} times" if request.scale > 1 else "not enlarged"
        seconds = outcome.num_frames / outcome.fps
        lines.append(f"{path}: {outcome.num_frames} frames, {grown} ({canvas}), {outcome.fps:g} fps, {seconds:.2f} s")
    if outcome.seams is not None:
        lines.append(_seams_in_words(outcome.seams))
    return [*lines, *(f"note: {note}" for note in outcome.notes)]


def _seams_in_words(seams: SeamReport) -> str:
    disagreement = "" if math.isnan(seams.disagreement) else f"windows disagree by {seams.disagreement:.2f}; "
    return (
        f"{len(seams.drift)} windows: change from frame to frame {seams.seam_change:.2f} of 255 at seams, "
        f"{seams.interior_change:.2f} inside; {disagreement}mean color drifts by at most {max(seams.drift):.2f}"
    )


def _check_width(request: Request, size: int) -> None:
    most = MAX_VIDEO_SIDE // (NUM_PANELS * size)
    if request.scale > most:
        raise UserError(f"scale={request.scale}: a canvas of {size} px can be enlarged {most} times at most")


def scale_to(side: int, size: int) -> int:
    """The scale at which a canvas of `size` pixels becomes at least `side` pixels wide."""
    return math.ceil(side / size)


def check_drivable(pipeline: DirectAnimatorPipeline, checkpoint: Path) -> None:
    """Nothing, unless the model wants to be told what nobody knows of a real video.

    Raises: UserError."""
    pose = pipeline.spec.cues.pose
    if pose.is_skeleton:
        raise UserError(
            f"checkpoint={checkpoint} was trained with cues.pose.picture={pose.picture}: it can be driven by synthetic "
            "humans only, since nobody knows the true skeleton of a real video"
        )


def _command(
    tokens: Sequence[str], make_perception: Callable[[], PersonPerception], make_codec: Callable[[], VideoCodec] | None
) -> None:
    request = parse(tokens)
    check_files(request)
    checkpoint = request.checkpoint or default_checkpoint()
    pipeline = DirectAnimatorPipeline.from_pretrained(checkpoint, make_codec() if make_codec else None)
    size = pipeline.spec.data.size
    _check_width(request, size)
    check_drivable(pipeline, checkpoint)
    pipeline.windows(1, request.overlap)  # an illegal overlap is told before the work begins
    print(f"checkpoint {checkpoint}", flush=True)
    outcome = run(request, pipeline, make_perception())
    print("\n".join(_report(request, outcome, size)))


def main(
    arguments: Sequence[str] | None = None,
    make_perception: Callable[[], PersonPerception] = MediapipePerception,
    make_codec: Callable[[], VideoCodec] | None = None,
) -> int:
    """The exit status: 0, 2 after bad input, 130 after an interruption; errors are one line on stderr."""

    def command(tokens: list[str]) -> int:
        if not tokens or "--help" in tokens:
            print(HELP)
            return 0
        check_options(tokens, OPTIONS)
        _command(tokens, make_perception, make_codec)
        return 0

    return run_command(command, arguments, "interrupted, nothing was written")


if __name__ == "__main__":
    sys.exit(main())
