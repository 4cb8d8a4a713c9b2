"""`python -m directanimator.extraction.benchmark [video=FILE] [frames=400]`: what a frame costs, beside a baseline.

The triplet is measured from the file to the finished cues of 512 x 512, decoding included, without start-up and without
writing to the cache. Other work on the machine adds to wall time, so processor time is printed too: half of it is the
least that two cores can take. The low-pass is measured in time of its one thread, beside scipy's bare real transform
and its inverse, in turns in the same run."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.fft
from jaxtyping import UInt8

from directanimator.ahead import ahead
from directanimator.assets import asset
from directanimator.command import run_command
from directanimator.cues.alignment import identity_alignment
from directanimator.cues.framing import center_crop
from directanimator.cues.gate import judged
from directanimator.cues.low_pass import low_pass, low_pass_in_frame
from directanimator.cues.spec import CueSpec
from directanimator.extraction.spec import ExtractionSpec
from directanimator.extraction.stream import (
    Judged,
    Spool,
    brightness_of,
    canvas_frames,
    drained,
    location_frames,
    pose_frames,
    trimmed,
)
from directanimator.perception.mediapipe import MediapipePerception
from directanimator.perception.person import PersonWatch
from directanimator.video import open_video
from directanimator.words import read_words, whole

SIZE = 512
WARM_UP = 30
"""Frames of the first pass that are not counted."""
ROUNDS = 200


class _Nowhere:
    """A sink that keeps nothing."""

    def append(self, item: dict[str, np.ndarray]) -> None:
        """Forgets the frame."""


@dataclass(frozen=True)
class Cost:
    """Milliseconds a frame."""

    wall: float
    processor: float


def triplet(path: Path, num_frames: int, watch: PersonWatch) -> Cost:
    """What the whole triplet of a video costs, which is played again until there are enough frames."""
    spec = CueSpec()
    with Spool(SIZE) as spool:
        clock, frames = _Clock(), _repeated(path, num_frames)
        first = next(frames)
        crop = trimmed(center_crop(*first.shape[:2]), SIZE)
        seen = watch.watch(ahead(itertools.chain([first], frames)))
        facts = []
        for number, frame in enumerate(canvas_frames(seen, crop, SIZE, spec.face)):
            if number == WARM_UP:
                clock = _Clock()
            spool.append(frame)
            facts.append((frame.figures, frame.face_box, frame.moments))
        first_pass = clock.cost(num_frames - WARM_UP)
        clock = _Clock()
        accepted = judged([figures for figures, _, _ in facts], spec.gate, ExtractionSpec().trust).accepted
        moments = [one for (_, _, one), good in zip(facts, accepted, strict=True) if good]
        boxes = [box for _, box, _ in facts]
        clip = Judged([bool(good) for good in accepted], boxes, brightness_of(moments), identity_alignment())
        pose = pose_frames(spool, clip, spec.pose)
        drained((pose, _Nowhere()), (location_frames(spool, clip, SIZE, spec.location), _Nowhere()))
        second_pass = clock.cost(num_frames)
    return Cost(first_pass.wall + second_pass.wall, first_pass.processor + second_pass.processor)


class _Clock:
    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def cost(self, count: int) -> Cost:
        wall, processor = time.perf_counter() - self._wall, time.process_time() - self._processor
        return Cost(1e3 * wall / count, 1e3 * processor / count)


def _repeated(path: Path, num_frames: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    left = num_frames
    while left > 0:
        with open_video(path) as video:
            for frame in itertools.islice(video.frames, left):
                left -= 1
                yield frame


def filters() -> dict[str, float]:
    """Median milliseconds of one 512 x 512 picture: the bare transform and its inverse, and the filters."""
    picture = np.random.default_rng(0).standard_normal((1, SIZE, SIZE)).astype(np.float32)
    pose = CueSpec().pose
    ways: dict[str, Callable[[], object]] = {
        "scipy.fft rfft2 + irfft2": lambda: scipy.fft.irfft2(scipy.fft.rfft2(picture), s=(SIZE, SIZE)),
        "low_pass": lambda: low_pass(picture, pose.cutoff, pose.filter_shape),
        f"low_pass_in_frame, cutoff {pose.cutoff:g}": lambda: low_pass_in_frame(
            picture, pose.cutoff, pose.filter_shape
        ),
        "low_pass_in_frame, cutoff 32": lambda: low_pass_in_frame(picture, 32.0, pose.filter_shape),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.thread_time()
            way()
            spent[name].append(1e3 * (time.thread_time() - start))
    return {name: float(np.median(values)) for name, values in spent.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 after one line on stderr."""
    return run_command(_command, arguments)


def _command(tokens: list[str]) -> int:
    words = read_words(tokens, ("video", "frames"))
    frames = whole(words, "frames", 400, WARM_UP + 1, 1_000_000)
    path = Path(words["video"]) if "video" in words else asset("pose2sim_cam01")
    costs = filters()
    (baseline,) = list(costs.values())[:1]
    for name, spent in costs.items():
        print(f"{name:34} {spent:6.2f} ms  {spent / baseline:.2f} x", flush=True)
    cost = triplet(path, frames, MediapipePerception())
    print(f"{'whole triplet, a frame':34} {cost.wall:6.2f} ms  processor {cost.processor:.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
