"""Who makes pseudo clips: a person's picture and a video whose motion they are to show become a video.

Any program that can be called does it; the same-ID model itself does in `own`."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import IO, Literal, Protocol, runtime_checkable

from jaxtyping import UInt8
from numpy import ndarray

from directanimator.errors import UserError, did_you_mean
from directanimator.video import open_video, write_frames

Failure = Literal["not_started", "exit_status", "timeout", "refused", "no_output", "unreadable", "count", "size"]
PLACEHOLDERS = ("reference", "driving", "output")
LEAST_SIDE, MOST_SIDE = 64, 4096
"""Sides of the frames of a pseudo clip, in pixels."""
FRAMES_AMISS = 1
"""How many frames a program may make too many or too few: decoders disagree about the last one."""
_LAST_WORDS = 4096


class FailedDriverError(Exception):
    """One clip was not made; the others may be."""

    def __init__(self, reason: Failure, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, " ".join(detail.split())


@runtime_checkable
class PseudoDriver(Protocol):
    """Animates the person of a picture by the motion of a video."""

    @property
    def made_with(self) -> Mapping[str, str]:
        """All that shapes its clips beside the two inputs, by name."""
        ...

    def generate(self, reference: Path, driving: Path, output: Path) -> None:
        """Nothing; writes a video of as many frames as the driving one to `output`, frame by frame its motion.

        Raises: FailedDriverError."""
        ...


# ---------------------------------------------------------------- a program


@dataclass(frozen=True)
class CommandDriver:
    """Any program, called once a clip and without a shell."""

    template: tuple[str, ...]
    """Its arguments, with placeholders in braces."""
    time_limit_s: float

    @classmethod
    def parsed(cls, text: str, time_limit_s: float, key: str = "command") -> "CommandDriver":
        """The driver of a command line. Quotes group words as in a shell; nothing else of a shell is understood.

        Raises: UserError for a placeholder that is missing or unknown, open quotes, or a program that is not there."""
        try:
            template = shlex.split(text)
        except ValueError as error:
            raise UserError(f"{key}={text!r}: {str(error).lower()}") from error
        named = [name for part in template for name in _PLACEHOLDER.findall(part)]
        wanted = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        for name in named:
            if name not in PLACEHOLDERS:
                raise UserError(
                    f"{key}: unknown placeholder {{{name}}}: want {wanted}{did_you_mean(name, PLACEHOLDERS)}"
                )
        for name in PLACEHOLDERS:
            if name not in named:
                raise UserError(f"{key}: {{{name}}} is missing; want a program's words with {wanted} in them")
        if shutil.which(template[0]) is None:
            raise UserError(f"{key}: there is no program {template[0]!r}")
        return cls(tuple(template), time_limit_s)

    @property
    def made_with(self) -> Mapping[str, str]:
        """The command line."""
        return {"command": shlex.join(self.template)}

    def generate(self, reference: Path, driving: Path, output: Path) -> None:
        """Nothing; calls the program. It is stopped, with all that it started, when its time is over.

        Raises: FailedDriverError."""
        paths = {"reference": reference, "driving": driving, "output": output}
        arguments = [_PLACEHOLDER.sub(lambda found: str(paths[found[1]].absolute()), part) for part in self.template]
        with tempfile.TemporaryFile() as said:
            status = self._status(arguments, said)
            if status:
                raise FailedDriverError("exit_status", f"{status}; it said: {_last_words(said)}")
        if not output.is_file():
            raise FailedDriverError("no_output", "the program ended well and left no file at {output}")

    def _status(self, arguments: list[str], said: IO[bytes]) -> int:
        """The exit status. The program leads a group of processes, of which none outlives an interruption."""
        try:
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
        except OSError as error:
            raise FailedDriverError("not_started", f"{arguments[0]}: {error.strerror or error}") from error
        try:
            return process.wait(self.time_limit_s)
        except subprocess.TimeoutExpired as error:
            raise FailedDriverError("timeout", f"not done after {self.time_limit_s:g} s") from error
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


def _last_words(said: IO[bytes]) -> str:
    """The last line of what a program said, however much it was."""
    said.seek(max(0, said.seek(0, os.SEEK_END) - _LAST_WORDS))
    lines = said.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")


@dataclass(frozen=True)
class InTurn:
    """Two drivers: the second one is driven by what the first one made. It may put the reference's face there.

    Deviation: the paper takes the pose cue from StableAnimator's clip and the face cue from Face-Adapter's; here one
    clip bears both."""

    first: PseudoDriver
    second: PseudoDriver

    @property
    def made_with(self) -> Mapping[str, str]:
        """What both are made with."""
        parts = {"first": self.first, "second": self.second}
        return {f"{n}.{key}": value for n, part in parts.items() for key, value in part.made_with.items()}

    def generate(self, reference: Path, driving: Path, output: Path) -> None:
        """Nothing; writes what the second one makes.

        Raises: FailedDriverError."""
        between = output.with_name(f"first_{output.name}")
        self.first.generate(reference, driving, between)
        self.second.generate(reference, between, output)


# ---------------------------------------------------------------- what is made of their output


@dataclass(frozen=True)
class Beat:
    """Number of frames and rate of a driving video: what its pseudo clips must have."""

    num_frames: int
    fps: float

    @classmethod
    def of(cls, driving: Path) -> "Beat":
        """The beat of a video, which is read to its end.

        Raises: UserError if it cannot be."""
        with open_video(driving) as stream:
            return cls(sum(1 for _ in stream.frames), stream.fps)


def take(made: Path, target: Path, beat: Beat) -> None:
    """Nothing; writes the frames that a driver made to `target`, as an .mp4 in the beat of the driving video.

    Whatever rate the file tells: frame k shows the motion of frame k.
    Raises: FailedDriverError for frames that cannot be read, or are too many, too few, too small or too large;
        UserError if `target` cannot be written."""
    write_frames(target, _in_beat(_read(made), beat.num_frames), beat.fps)


def _read(made: Path) -> Iterator[UInt8[ndarray, "h w 3"]]:
    try:
        with open_video(made) as stream:
            yield from stream.frames
    except UserError as error:
        raise FailedDriverError("unreadable", str(error)) from error


def _in_beat(frames: Iterator[UInt8[ndarray, "h w 3"]], wanted: int) -> Iterator[UInt8[ndarray, "h w 3"]]:
    count = 0
    for frame in frames:
        height, width = frame.shape[:2]
        if min(height, width) < LEAST_SIDE or max(height, width) > MOST_SIDE:
            raise FailedDriverError("size", f"{width}x{height}; want sides of {LEAST_SIDE}..{MOST_SIDE} pixels")
        if count < wanted:
            yield frame
        count += 1
        if count > wanted + FRAMES_AMISS:
            raise FailedDriverError("count", f"more than {wanted} frames, which the driving video has")
    if count < max(1, wanted - FRAMES_AMISS):
        raise FailedDriverError("count", f"{count} frames, where the driving video has {wanted}")
    yield from repeat(frame, wanted - count)
