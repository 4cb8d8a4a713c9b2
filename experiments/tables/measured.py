"""The metrics of the field as columns of a table, each with the protocol it was measured by."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from directanimator.errors import UserError
from directanimator.metrics.protocol import MetricProtocol, compare, compare_by_clip
from experiments.evaluation.comparison import ClipScores

WHOLE_SET = 0
"""The clip under which a distance over the set stands: it has one value a run, which is paired by seed alone."""


@dataclass(frozen=True)
class Column:
    """One metric on one subset of a run's test clips."""

    protocol: MetricProtocol
    values: ClipScores
    """By position of the clip; NaN where it has no value."""
    by_clip: bool
    """Whether each clip has a value of its own."""


class _Metric(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    metric: str
    value: float | None
    protocol: dict[str, object]
    clips: dict[str, float | None] | None


class _Measured(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    clips: list[str]
    metrics: list[_Metric]


class _Evaluation(BaseModel):
    """What evaluation.json must hold if it holds measures at all."""

    model_config = ConfigDict(extra="ignore", strict=True)
    measured: dict[str, _Measured] = {}


def measured_columns(name: str, evaluation: Mapping[str, object]) -> dict[str, Column]:
    """By `subset/metric`, of those that have any value; none in an evaluation of before they were measured.

    Raises: UserError naming `name` if the record of them is malformed."""
    try:
        measured = _Evaluation.model_validate(dict(evaluation)).measured
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"evaluation of {name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return {
        f"{subset}/{entry.metric}": _column(entry, found.clips)
        for subset, found in measured.items()
        for entry in found.metrics
        if entry.clips is not None or entry.value is not None
    }


def _column(entry: _Metric, clips: list[str]) -> Column:
    protocol = MetricProtocol.of_record(entry.protocol)
    if entry.clips is None:
        return Column(protocol, {WHOLE_SET: _or_nan(entry.value)}, by_clip=False)
    values = {position: _or_nan(entry.clips.get(clip)) for position, clip in enumerate(clips)}
    return Column(protocol, values, by_clip=True)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def check_alike(name: str, first: Column, other: Column) -> None:
    """Nothing, when two runs' values of the column `name` may be compared.

    Values by clip are paired, so that clips without one are left out on both sides. A distance over the set depends on
    its N, which must be equal.
    Raises: UserError that names the column and each field in which the protocols differ."""
    try:
        (compare_by_clip if first.by_clip else compare)(first.protocol, other.protocol)
    except UserError as problem:
        raise UserError(f"{name}: {problem}") from problem
