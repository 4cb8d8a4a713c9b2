"""Which metric sees which degradation, and which is blind."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Real, UInt8

from directanimator.cues.canvas import resize
from directanimator.data.items import SOURCE_SCALE
from directanimator.data.synthetic import Identity, SyntheticPair, View, pair_at, render_clip
from directanimator.markdown import table_lines
from directanimator.metrics.catalog import (
    METRICS,
    ClipEvidence,
    ClipMetric,
    SetMetric,
    chosen,
    extractors_of,
    vectors_of,
)
from directanimator.metrics.degradations import DEGRADATIONS, STRENGTHS, degraded
from directanimator.metrics.features import Frames, Networks, observe
from directanimator.metrics.measurement import Metrics
from directanimator.progress import progress

ORDERING_SIZE, ORDERING_FRAMES, ORDERING_FPS, ORDERING_CLIPS = 160, 12, 8.0, 48
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
        return metric.compute(vectors_of(metric, made), vectors_of(metric, true))
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
        *table_lines(["metric", *DEGRADATIONS], [_ordering_row(metric, found[metric.name]) for metric in metrics]),
        "",
        "## Values at strengths 0 to 5",
        "",
        *table_lines(["metric", *DEGRADATIONS], [_value_row(metric, found[metric.name]) for metric in metrics]),
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


def measure_ordering() -> str:
    """The report over fresh clips."""
    clips = ordering_clips()
    return ordering_report(responses(clips, chosen("all")), len(clips))
