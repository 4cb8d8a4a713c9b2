"""How long the metrics take, without and with cached features."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from directanimator.data.spec import DataSpec
from directanimator.data.synthetic_items import synthetic_item
from directanimator.markdown import table_lines
from directanimator.metrics.catalog import chosen
from directanimator.metrics.degradations import degraded
from directanimator.metrics.feature_cache import FeatureCache
from directanimator.metrics.folders import Folders, measure
from directanimator.progress import progress
from directanimator.video import write_video

SPEED_CLIPS, SPEED_FRAMES = 64, 16
SPEED_SPEC = DataSpec(size=128, latent_frames=5, fps=8.0)
SPEED_TARGET_SECONDS, SPEED_TARGET_SHARE = 300, 0.6


@dataclass(frozen=True)
class Timing:
    """Wall and processor seconds of one call."""

    wall: float
    processor: float


def write_speed_clips(root: Path, count: int) -> Folders:
    """Test clips as videos, and as generated ones the same clips blurred."""
    for role in ("target", "generated", "reference"):
        (root / role).mkdir(parents=True)
    for index in progress(range(count), "rendering", total=count):
        item = synthetic_item("test", index, SPEED_SPEC)
        name, target = f"clip_{index:03d}", item.target[:SPEED_FRAMES]
        write_video(root / "target" / f"{name}.mp4", target, SPEED_SPEC.fps)
        spoiled = degraded(target, "blur", 2, target, index)
        write_video(root / "generated" / f"{name}.mp4", spoiled, SPEED_SPEC.fps)
        Image.fromarray(item.reference[0]).save(root / "reference" / f"{name}.png")
    return Folders({role: root / role for role in ("generated", "target", "reference")})


def timed(work: Callable[[], object]) -> Timing:
    """How long the work takes."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Timing(time.perf_counter() - wall, time.process_time() - processor)


def speed_report(first: Timing, second: Timing, clips: int, threads: int) -> str:
    """The two timings as Markdown."""
    rows = [
        ["nothing cached", f"{first.wall:.0f} s", f"{first.processor:.0f} s", "1"],
        ["target and reference cached", f"{second.wall:.0f} s", f"{second.processor:.0f} s",
         f"{second.processor / first.processor:.2f}"],
    ]  # fmt: skip
    lines = [
        "# How long the metrics take",
        "",
        f"`python -m directanimator.metrics.benchmark speed`: all metrics, {clips} clips of {SPEED_FRAMES} frames of "
        f"{SPEED_SPEC.size} px with references, threads: {threads}, networks loaded in each call.",
        "",
        *table_lines(["call", "wall", "processor", "share of the first (processor)"], rows),
        "",
        f"Aim: at most {SPEED_TARGET_SECONDS} s, and at most {SPEED_TARGET_SHARE:.0%} with cached features. "
        "Wall time on a shared machine is an upper bound.",
    ]
    return "\n".join(lines) + "\n"


def measure_speed() -> str:
    """The report over two calls on the same clips."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = write_speed_clips(Path(scratch), SPEED_CLIPS)
        cache = FeatureCache(Path(scratch) / "features")
        timings = [timed(lambda: measure(folders, chosen("all"), cache=cache)) for _ in range(2)]
    return speed_report(timings[0], timings[1], SPEED_CLIPS, torch.get_num_threads())
