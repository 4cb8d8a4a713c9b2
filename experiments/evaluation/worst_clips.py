"""The failure gallery of a run: the worst clips of each score and metric, by subset, on one page with videos."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from directanimator.metrics.gallery import Ranking, worst_clips
from directanimator.metrics.measurement import Measurement
from directanimator.metrics.report import rankings

WORST, WORST_JUDGED = 1, 3
"""Clips per score and subset: of every run, for two seconds of work, and of one that networks judge."""


@dataclass(frozen=True)
class _Score:
    meaning: str
    decimals: int


SCORES: Mapping[str, _Score] = {
    "psnr_foreground": _Score("PSNR inside the true person, dB", 2),
    "psnr_face": _Score("PSNR inside the true face, dB", 2),
    "ssim": _Score("structural similarity", 3),
    "mask_iou": _Score("overlap of the person with the true one, known background", 3),
    "motion": _Score("correlation of frame differences inside the person", 3),
}
"""The scores by ground truth that tell clips apart; `identity` is only yes or no."""


def rankings_of(names: Sequence[str], scores: Sequence[Mapping[str, float]], measurement: Measurement) -> list[Ranking]:
    """What orders the clips of one subset: scores by ground truth, where a clip has them, then what was measured."""
    found = []
    for score, about in SCORES.items():
        values = {name: one[score] for name, one in zip(names, scores, strict=True) if math.isfinite(one[score])}
        if values:
            found.append(Ranking(score, about.meaning, "higher", values, about.decimals))
    return [*found, *rankings(measurement)]


def worst_of(ranked: Sequence[Ranking], count: int) -> set[str]:
    """The clips of one subset that a gallery of the `count` worst shows."""
    return worst_clips(ranked, {name: "" for ranking in ranked for name in ranking.values}, count)


def merged(ranked: Iterable[Sequence[Ranking]]) -> list[Ranking]:
    """The rankings of several subsets, one per score or metric."""
    found: dict[str, Ranking] = {}
    for ranking in (one for several in ranked for one in several):
        known = found.get(ranking.metric, ranking)
        found[ranking.metric] = Ranking(
            ranking.metric, ranking.meaning, ranking.better, {**known.values, **ranking.values}, ranking.decimals
        )
    return list(found.values())
