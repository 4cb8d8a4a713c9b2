"""What the metrics themselves are worth, measured on synthetic humans; each command writes one report.

    python -m directanimator.metrics.benchmark ordering    which metric sees which degradation, and which is blind
    python -m directanimator.metrics.benchmark fvd_bias    Frechet distances between halves of one distribution
    python -m directanimator.metrics.benchmark speed       all metrics on 64 clips, without and with cached features

    output=DIR   where NAME.md goes; default: research/reports
"""

import functools
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, Real, UInt8
from PIL import Image

from directanimator.atomic import atomic_write
from directanimator.command import run_command
from directanimator.cues.canvas import resize
from directanimator.data.items import SOURCE_SCALE
from directanimator.data.spec import DataSpec
from directanimator.data.synthetic import SYNTH_VERSION, Identity, SyntheticPair, View, pair_at, render_clip
from directanimator.data.synthetic_items import synthetic_item, synthetic_pixels
from directanimator.errors import UserError, did_you_mean
from directanimator.metrics.catalog import (
    METRICS,
    ClipEvidence,
    ClipMetric,
    SetMetric,
    chosen,
    extractors_of,
    values_of,
)
from directanimator.metrics.degradations import DEGRADATIONS, STRENGTHS, degraded
from directanimator.metrics.feature_cache import FeatureCache
from directanimator.metrics.features import EXTRACTORS, Frames, Networks, observe
from directanimator.metrics.folders import Folders, measure
from directanimator.metrics.frechet import frechet_distance, small_sample_bias
from directanimator.metrics.kernel_distance import kernel_distance
from directanimator.metrics.measurement import Metrics
from directanimator.places import PROJECT, features_root
from directanimator.progress import progress
from directanimator.video import write_video

# ---------------------------------------------------------------- ordering

ORDERING_SIZE, ORDERING_FRAMES, ORDERING_FPS, ORDERING_CLIPS = 160, 12, 8.0, 16
ORDERING_VIEWS: tuple[View, ...] = ("bust", "half")
MONOTONE = 0.95
BLIND = 0.02
"""A metric is called blind where the strongest degradation moves it by less than this share of its largest move."""


@dataclass(frozen=True, eq=False)
class OrderingClip:
    """A true clip, the same scene and motion with another person, and a reference image of the true one."""

    target: Frames
    other: Frames
    reference: UInt8[np.ndarray, "1 h w 3"]


@dataclass(frozen=True)
class Response:
    """How a metric moves with the strength of one degradation, each strength a mean over clips."""

    values: tuple[float, ...]
    better: str

    @property
    def correlation(self) -> float:
        """Spearman's rank correlation of strength and badness, in [-1, 1]; 0 when nothing moves.

        Over the strengths that have a value: a spoiled face may not be found in any clip."""
        sign = -1 if self.better == "higher" else 1
        values = sign * np.array(self.values)
        strengths = np.flatnonzero(np.isfinite(values))
        return rank_correlation(strengths, values[strengths])

    @property
    def is_whole(self) -> bool:
        """Whether every strength has a value."""
        return bool(np.isfinite(self.values).all())

    @property
    def move(self) -> float:
        """Largest distance from the value of the true clips."""
        return float(np.nanmax(np.abs(np.array(self.values) - self.values[0]), initial=0.0))


def is_blind(kinds: Mapping[str, Response], kind: str) -> bool:
    """Whether a metric hardly moves under one kind of degradation, compared with the kind that moves it most."""
    return kinds[kind].move < BLIND * max(response.move for response in kinds.values())


def rank_correlation(first: Real[np.ndarray, " n"], second: Real[np.ndarray, " n"]) -> float:
    """Spearman's rank correlation, in [-1, 1], ties sharing their mean rank; 0 if all of one are equal."""
    a, b = _ranks(first.astype(np.float64)), _ranks(second.astype(np.float64))
    spread = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else 0.0


def _ranks(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return ((values[:, None] > values).sum(axis=1) + (values[:, None] >= values).sum(axis=1)) / 2


def ordering_clips(count: int = ORDERING_CLIPS) -> list[OrderingClip]:
    """Validation clips, half of head and shoulders and half of half bodies."""
    clips: dict[View, list[OrderingClip]] = {view: [] for view in ORDERING_VIEWS}
    share = count // len(ORDERING_VIEWS)
    index = 0
    while any(len(found) < share for found in clips.values()):
        pair = pair_at("val", index, ORDERING_FRAMES, ORDERING_FPS)
        index += 1
        if len(clips[pair.view]) < share:
            clips[pair.view].append(_ordering_clip(pair))
    return [clip for found in clips.values() for clip in found]


def _ordering_clip(pair: SyntheticPair) -> OrderingClip:
    return OrderingClip(
        _rendered(pair, pair.identity, pair.times),
        _rendered(pair, pair.driver, pair.times),
        _rendered(pair, pair.identity, np.array([pair.reference_time])),
    )


def _rendered(pair: SyntheticPair, identity: Identity, times: np.ndarray) -> Frames:
    size = ORDERING_SIZE * SOURCE_SCALE
    clip = render_clip(identity, pair.motion, pair.scene, times, size, pair.view, supersample=1)
    return resize(clip.frames, ORDERING_SIZE)


def responses(clips: Sequence[OrderingClip], metrics: Metrics) -> dict[str, dict[str, Response]]:
    """By metric and degradation, the response on these clips."""
    networks, names = Networks(), extractors_of(metrics)
    look = functools.partial(observe, networks, names=names, window=ORDERING_FRAMES)
    truths = [(look(clip.target), look(clip.reference)) for clip in progress(clips, "targets", total=len(clips))]
    found: dict[str, dict[str, Response]] = {metric.name: {} for metric in metrics}
    spoiled = [(kind, strength) for kind in DEGRADATIONS for strength in STRENGTHS]
    series: dict[tuple[str, str], list[float]] = {}
    for kind, strength in progress(spoiled, "degradations", total=len(spoiled)):
        if strength == 0:
            made = [target for target, _ in truths]
        else:
            made = [look(degraded(clip.target, kind, strength, clip.other, index)) for index, clip in enumerate(clips)]
        evidence = [ClipEvidence(one, *truth) for one, truth in zip(made, truths, strict=True)]
        for metric in metrics:
            series.setdefault((metric.name, kind), []).append(_value(metric, evidence, networks))
    for metric in metrics:
        for kind in DEGRADATIONS:
            found[metric.name][kind] = Response(tuple(series[metric.name, kind]), metric.better)
    return found


def _value(metric: ClipMetric | SetMetric, evidence: Sequence[ClipEvidence], networks: Networks) -> float:
    if isinstance(metric, SetMetric):
        made, true = [one.generated for one in evidence], [one.target for one in evidence]
        return metric.compute(values_of(metric, made), values_of(metric, true))
    values = np.array([_clip_value(metric, one, networks) for one in evidence])
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def _clip_value(metric: ClipMetric, evidence: ClipEvidence, networks: Networks) -> float:
    """NaN where the clip has nothing to measure."""
    try:
        return metric.compute(evidence, networks)
    except ValueError:
        return math.nan


def ordering_report(found: Mapping[str, Mapping[str, Response]], num_clips: int) -> str:
    """The table of rank correlations, the claims that failed, and the values behind them, as Markdown."""
    metrics = [metric for metric in METRICS if metric.name in found]
    claims = [(metric, kind) for metric in metrics for kind in sorted(metric.sees)]
    failed = [
        (m, k) for m, k in claims if is_blind(found[m.name], k) or not found[m.name][k].correlation >= MONOTONE
    ]
    lines = [
        "# Which metric sees what",
        "",
        f"`python -m directanimator.metrics.benchmark ordering`: {num_clips} synthetic "
        f"validation clips (half of them head "
        f"and shoulders) of {ORDERING_FRAMES} frames of {ORDERING_SIZE} px, spoiled in six ways at strengths 0 to 5.",
        "Spearman's rank correlation of strength and badness (means over clips). "
        "**Bold**: the metric claims to see it.",
        f"*blind*: at any strength the metric moves by less than {BLIND:.0%} of its largest move in the table.",
        "*(part)*: at the strongest, no clip has a value any more (no face or body is found); the others are ranked.",
        "",
        f"{len(claims) - len(failed)} of {len(claims)} claims hold (correlation >= {MONOTONE}).",
        *(f"Does not hold: `{m.name}` on {kind}, {found[m.name][kind].correlation:.2f}." for m, kind in failed),
        "",
        *_markdown(["metric", *DEGRADATIONS], [_ordering_row(metric, found[metric.name]) for metric in metrics]),
        "",
        "## Values at strengths 0 to 5",
        "",
        *_markdown(["metric", *DEGRADATIONS], [_value_row(metric, found[metric.name]) for metric in metrics]),
        "",
        "Synthetic humans show how metrics behave; thresholds for real videos do not follow from this table.",
    ]
    return "\n".join(lines) + "\n"


def _ordering_row(metric: ClipMetric | SetMetric, kinds: Mapping[str, Response]) -> list[str]:
    cells = []
    for kind, response in kinds.items():
        cell = "*blind*" if is_blind(kinds, kind) else f"{response.correlation:+.2f}"
        cell += "" if response.is_whole else " *(part)*"
        cells.append(f"**{cell}**" if kind in metric.sees else cell)
    return [f"`{metric.name}`", *cells]


def _value_row(metric: ClipMetric | SetMetric, kinds: Mapping[str, Response]) -> list[str]:
    shown = [" ".join(f"{value:.{metric.decimals}f}" for value in response.values) for response in kinds.values()]
    return [f"`{metric.name}`", *shown]


# ---------------------------------------------------------------- small-sample bias

BIAS_SIZES = (10, 30, 100, 300)
BIAS_SPEC = DataSpec(size=128, latent_frames=5, fps=8.0)
BIAS_FRAMES = 16


def bias_features(count: int) -> dict[str, np.ndarray]:
    """I3D's features of training clips 0 .. count-1, one row per clip; kept in the cache of features."""
    networks, cache = Networks(), FeatureCache(features_root())
    rows = [_bias_row(index, networks, cache) for index in progress(range(count), "clips", total=count)]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _bias_row(index: int, networks: Networks, cache: FeatureCache) -> Mapping[str, np.ndarray]:
    i3d = EXTRACTORS["i3d"]

    def make() -> Mapping[str, np.ndarray]:
        frames = synthetic_pixels("train", index, BIAS_SPEC)["target"][:BIAS_FRAMES]
        return i3d.make(networks, frames, {}, BIAS_FRAMES)

    return cache.get(bias_source(index), make)


def bias_source(index: int) -> dict[str, str]:
    """What the features of a training clip depend on."""
    i3d = EXTRACTORS["i3d"]
    clip = f"synthetic {SYNTH_VERSION} train {index} {BIAS_SPEC.size} px {BIAS_FRAMES} frames {BIAS_SPEC.fps:g} fps"
    return {"clip": clip, "network": f"{i3d.name} {i3d.version}", "weights": i3d.weights}


def bias_report(features: Mapping[str, np.ndarray]) -> str:
    """Distances between disjoint sets of N clips of one distribution, and what one set estimates, as Markdown."""
    rows = [row for count in BIAS_SIZES for row in _bias_rows(features, count)]
    headings = ["features", "N", "pairs", "distance", "range", "estimated from one set", "unbiased kernel distance"]
    total = len(features["i3d.logits"])
    lines = [
        "# How much of an FVD is the size of the sets",
        "",
        f"`python -m directanimator.metrics.benchmark fvd_bias`: {total} synthetic "
        f"training clips of {BIAS_FRAMES} frames "
        f"of {BIAS_SPEC.size} px, split into disjoint pairs of sets. Both sets of a pair "
        f"come from one distribution: the "
        "true distance is 0.",
        "",
        *_markdown(headings, rows),
        "",
        "*Distance*: mean over pairs. *Estimated from one set*: `small_sample_bias` of "
        "the first set of each pair, mean; "
        "it is what the report of `python -m directanimator.metrics` prints beside a distance.",
        "",
        "Levels at different N cannot be compared, and a distance below the one of its own N says nothing.",
    ]
    return "\n".join(lines) + "\n"


def _bias_rows(features: Mapping[str, np.ndarray], count: int) -> list[list[str]]:
    rows = []
    for name, title in (("i3d.logits", "`fvd`, logits (400)"), ("i3d.pooled", "`fid_vid_i3d`, pooled (1024)")):
        vectors = features[name]
        half = len(vectors) // 2
        starts = range(0, half - count + 1, count)
        pairs = [(vectors[start:][:count], vectors[half + start :][:count]) for start in starts]
        if not pairs:
            continue
        distances = [frechet_distance(first, second) for first, second in pairs]
        estimates = [small_sample_bias(first) for first, _ in pairs]
        kernel = [kernel_distance(first, second) for first, second in pairs]
        digits = 1 if max(distances) > 50 else 3
        spread = f"{min(distances):.{digits}f} to {max(distances):.{digits}f}"
        rows.append(
            [title, str(count), str(len(pairs)), f"{np.mean(distances):.{digits}f}", spread,
             f"{np.mean(estimates):.{digits}f}", f"{np.mean(kernel):+.3f} (sd {np.std(kernel):.3f})"]
        )  # fmt: skip
    return rows


# ---------------------------------------------------------------- speed

SPEED_CLIPS = 64
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
        item = synthetic_item("test", index, BIAS_SPEC)
        name, target = f"clip_{index:03d}", item.target[:BIAS_FRAMES]
        write_video(root / "target" / f"{name}.mp4", target, BIAS_SPEC.fps)
        spoiled = degraded(target, "blur", 2, target, index)
        write_video(root / "generated" / f"{name}.mp4", spoiled, BIAS_SPEC.fps)
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
        f"`python -m directanimator.metrics.benchmark speed`: all metrics, {clips} clips of {BIAS_FRAMES} frames of "
        f"{BIAS_SPEC.size} px with references, threads: {threads}, networks loaded in each call.",
        "",
        *_markdown(["call", "wall", "processor", "share of the first (processor)"], rows),
        "",
        f"Aim: at most {SPEED_TARGET_SECONDS} s, and at most {SPEED_TARGET_SHARE:.0%} with cached features. "
        "Wall time on a shared machine is an upper bound.",
    ]
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- commands


def _ordering() -> str:
    clips = ordering_clips()
    return ordering_report(responses(clips, chosen("all")), len(clips))


def _fvd_bias() -> str:
    return bias_report(bias_features(2 * BIAS_SIZES[-1]))


def _speed() -> str:
    with tempfile.TemporaryDirectory() as scratch:
        folders = write_speed_clips(Path(scratch), SPEED_CLIPS)
        cache = FeatureCache(Path(scratch) / "features")
        timings = [timed(lambda: measure(folders, chosen("all"), cache=cache)) for _ in range(2)]
    return speed_report(timings[0], timings[1], SPEED_CLIPS, torch.get_num_threads())


COMMANDS: Mapping[str, Callable[[], str]] = {"ordering": _ordering, "fvd_bias": _fvd_bias, "speed": _speed}
REPORT_NAMES = {"ordering": "metric_ordering", "fvd_bias": "fvd_bias", "speed": "metric_speed"}


def _markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *rows)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 after one line on stderr."""
    return run_command(_command, arguments)


def _command(tokens: list[str]) -> int:
    command, folder = _parsed(tokens)
    path = folder / f"{REPORT_NAMES[command]}.md"
    report = COMMANDS[command]()
    atomic_write(path, report.encode())
    print(report)
    print(f"written: {os.path.relpath(path)}")
    return 0


def _parsed(tokens: Sequence[str]) -> tuple[str, Path]:
    folder = PROJECT / "research" / "reports"
    commands = [token for token in tokens if "=" not in token]
    for token in tokens:
        key, sign, value = token.partition("=")
        if sign and key != "output":
            raise UserError(f"unknown key {key!r}: known is output{did_you_mean(key, ['output'])}")
        folder = Path(value) if sign else folder
    if len(commands) != 1 or commands[0] not in COMMANDS:
        word = " ".join(commands) or "nothing"
        raise UserError(f"{word}: want one of {', '.join(COMMANDS)}{did_you_mean(word, COMMANDS)}")
    return commands[0], folder


if __name__ == "__main__":
    sys.exit(main())
