"""How fast the humans are rendered on this machine. Speeds are told, never tested."""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from directanimator.data.synthetic.clip import render_clip
from directanimator.data.synthetic.ground_truth import Layer
from directanimator.data.synthetic.identity import identity_at
from directanimator.data.synthetic.motion import motion_at
from directanimator.data.synthetic.scene import View, scene_at

SIZES = (64, 128, 256)
_CLIP_FRAMES = 32
_FIRST_FRAME = """
import numpy as np
from directanimator.data.synthetic import identity_at, motion_at, render_clip, scene_at
render_clip(identity_at("test", 0), motion_at("test", 0), scene_at("test", 0), np.zeros(1), 64, "full")
"""


def _render_for(seconds: float, size: int, view: View, layers: Collection[Layer] | None) -> tuple[int, float, float]:
    """Frames, wall seconds and processor seconds of clips of ten people, rendered for about `seconds`."""
    people = [identity_at("test", index) for index in range(10)]
    times = np.linspace(0, 5, _CLIP_FRAMES)
    render_clip(people[0], motion_at("test", 0), scene_at("test", 0), times[:1], size, view, layers=layers)
    frames, wall, processor = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        index = frames // _CLIP_FRAMES
        motion, scene = motion_at("test", index % 96), scene_at("test", index)
        render_clip(people[index % 10], motion, scene, times, size, view, layers=layers)
        frames += _CLIP_FRAMES
    return frames, time.perf_counter() - wall, time.process_time() - processor


def frames_per_second(
    workers: int, seconds: float, size: int, view: View, layers: Collection[Layer] | None
) -> tuple[float, float]:
    """Of all workers together: frames per second of wall time, and what it would be if each had a core to itself."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as executor:
        futures = [executor.submit(_render_for, seconds, size, view, layers) for _ in range(workers)]
        done = [future.result() for future in futures]
    return sum(frames / wall for frames, wall, _ in done), sum(frames / processor for frames, _, processor in done)


def seconds_to_first_frame() -> float:
    """From the start of a fresh interpreter to one frame at 64 px; the compiled kernels are cached by then."""
    command = [sys.executable, "-c", _FIRST_FRAME]
    subprocess.run(command, check=True)
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def report(workers: int, seconds: float) -> Iterator[str]:
    """Lines of a table, as they are measured; takes about twelve times `seconds`."""
    yield f"first frame, compiled kernels cached: {seconds_to_first_frame():.2f} s"
    yield f"{workers} workers, 2x2 samples a pixel; frames/s of wall time, and of processor time"
    yield f"{'size':>5} {'view':>5} {'ground truth':28} {'wall':>7} {'processor':>10}"
    all_layers: tuple[Layer, ...] = ("depth", "correspondence")
    for size in SIZES:
        kinds: tuple[tuple[View, Collection[Layer] | None, str], ...] = (
            ("full", None, "mask, joints"),
            ("full", (), "and boxes, points"),
            ("full", all_layers, "and depth, correspondence"),
            ("half", None, "mask, joints"),
        )
        for view, layers, told in kinds:
            wall, processor = frames_per_second(workers, seconds, size, view, layers)
            yield f"{size:5} {view:>5} {told:28} {wall:7.0f} {processor:10.0f}"
