"""The quality gate: a bad person mask is worse than none, since neighboring frames can tell what is missing."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Int64, UInt8

from directanimator.cues.spec import GateSpec

RejectReason = Literal["empty", "too_small", "too_large", "fragmented"]

FOREGROUND = 128
"""Least coverage of a pixel that counts as person."""


@dataclass(frozen=True, eq=False)
class GateReport:
    """Which frames have a usable mask, and why the others have none."""

    accepted: Bool[np.ndarray, " f"]
    reasons: tuple[RejectReason | None, ...]
    """None for an accepted frame."""


def gate(mask: UInt8[np.ndarray, "f h w"], spec: GateSpec) -> GateReport:
    """The verdict on each frame's mask.

    Areas are judged against the clip's median over frames that show a person at all.
    Source: Beyond Skeletons, Driving Cue Triplet (poor segmentations are thrown away).
    Deviation: the criteria are ours; the paper states none."""
    person = mask >= FOREGROUND
    area = person.sum(axis=(1, 2), dtype=np.int64)
    typical = float(np.median(area[area > 0])) if area.any() else 0.0
    reasons = tuple(_reason(frame, int(pixels), typical, spec) for frame, pixels in zip(person, area, strict=True))
    return GateReport(np.array([reason is None for reason in reasons], dtype=np.bool_), reasons)


def _reason(person: Bool[np.ndarray, "h w"], area: int, typical: float, spec: GateSpec) -> RejectReason | None:
    if area == 0:
        return "empty"
    if area < spec.min_area_ratio * typical:
        return "too_small"
    if area > spec.max_area_ratio * typical:
        return "too_large"
    if _component_areas(person).max() < spec.min_largest_component * area:
        return "fragmented"
    return None


def _component_areas(person: Bool[np.ndarray, "h w"]) -> Int64[np.ndarray, " n"]:
    _, labels = cv2.connectedComponents(person.astype(np.uint8), connectivity=8)
    return np.bincount(labels.ravel())[1:]
