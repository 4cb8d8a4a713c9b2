"""The quality gate: a bad person mask is worse than none, since neighboring frames can tell what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from directanimator.cues.spec import GateSpec, TrustSpec

RejectReason = Literal["empty", "too_small", "too_large", "fragmented", "unsure", "at_border"]

FOREGROUND = 128
"""Least coverage of a pixel that counts as person."""


@dataclass(frozen=True, eq=False)
class GateReport:
    """Which frames have a usable mask, and why the others have none."""

    accepted: Bool[np.ndarray, " f"]
    reasons: tuple[RejectReason | None, ...]
    """None for an accepted frame."""


@dataclass(frozen=True)
class MaskFigures:
    """What the gate needs to know of one frame's mask."""

    area: int
    """Pixels of the person."""
    largest: int
    """Pixels of the person's largest connected part."""
    border: float
    """Share of the frame's border that is person, mean of the four sides."""
    score: float = 1.0
    """Confidence of the detection, in [0, 1]."""


def measured(mask: UInt8[np.ndarray, "h w"], score: float = 1.0) -> MaskFigures:
    """The figures of one mask."""
    person = mask >= FOREGROUND
    left, top, width, height = cv2.boundingRect(person.view(np.uint8))
    around = np.ascontiguousarray(person[top : top + height, left : left + width]).view(np.uint8)
    areas = cv2.connectedComponentsWithStats(around, connectivity=8)[2][1:, cv2.CC_STAT_AREA] if width else np.zeros(1)
    largest = int(areas.max())
    border = float(np.mean([side.mean() for side in (person[0], person[-1], person[:, 0], person[:, -1])]))
    return MaskFigures(int(np.count_nonzero(person)), largest, border, score)


def gate(
    mask: UInt8[np.ndarray, "f h w"],
    spec: GateSpec,
    score: Float32[np.ndarray, " f"] | None = None,
    trust: TrustSpec | None = None,
) -> GateReport:
    """The verdict on each frame's mask: by its area and its parts, and with `trust` by the detection's score and by how
    much of the border it covers."""
    scores = np.ones(len(mask), np.float32) if score is None else score
    return judged([measured(frame, float(sure)) for frame, sure in zip(mask, scores, strict=True)], spec, trust)


def judged(figures: Sequence[MaskFigures], spec: GateSpec, trust: TrustSpec | None = None) -> GateReport:
    """The verdict on each frame of a clip.

    Areas are judged against the clip's median over frames that show a person at all. `trust` adds what only matters
    for masks that nets made; the truth needs no trust.
    Source: Beyond Skeletons, Driving Cue Triplet (poor segmentations are thrown away).
    Deviation: the criteria are ours; the paper states none."""
    areas = [frame.area for frame in figures if frame.area > 0]
    typical = float(np.median(areas)) if areas else 0.0
    reasons = tuple(_reason(frame, typical, spec) or _mistrust(frame, trust) for frame in figures)
    return GateReport(np.array([reason is None for reason in reasons], dtype=np.bool_), reasons)


def _reason(frame: MaskFigures, typical: float, spec: GateSpec) -> RejectReason | None:
    if frame.area == 0:
        return "empty"
    if frame.area < spec.min_area_ratio * typical:
        return "too_small"
    if frame.area > spec.max_area_ratio * typical:
        return "too_large"
    if frame.largest < spec.min_largest_component * frame.area:
        return "fragmented"
    return None


def _mistrust(frame: MaskFigures, trust: TrustSpec | None) -> RejectReason | None:
    if trust is None:
        return None
    if frame.score < trust.min_score:
        return "unsure"
    return "at_border" if frame.border > trust.max_border else None
