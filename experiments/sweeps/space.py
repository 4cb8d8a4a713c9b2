"""Search spaces as data: typed ranges and choices over paths of the spec, and what is searched for.

Knows no search library. A space is legal when each of its corners, as edits, makes a legal spec."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from directanimator.digests import digest
from directanimator.errors import UserError, did_you_mean
from directanimator.frozen import FrozenSpec
from experiments.edit import edit, fields, format_value, kinds, leaves, unknown_path
from experiments.evaluation.columns import METRICS
from experiments.spec import ExperimentSpec, stage_fingerprint
from experiments.tracking.address import sqlite_file

Sampler = Literal["tpe", "gp"]
Pruner = Literal["none", "hyperband", "wilcoxon"]
Number = int | float
Simple = bool | int | float | str | None

SECONDS = "seconds"
"""The one metric that is no score: what training cost."""
MIN_WILCOXON_SEEDS = 5
"""Pruning saves something only if a test of fewer seeds can tell: 4 pairs that agree have p = 1/16, 3 have 1/8."""
UNLIKE_LOSSES = (
    "data.",
    "cues.",
    "denoising.",
    "sampling.",
    "evaluation.",
    "model.codec",
    "optim.cue_dropout",
    "cross_id.steps",
    "cross_id.same_id_share",
)
"""Paths between whose values training losses at one step cannot be compared: they change what is asked of the model,
or do not change training at all."""
MOST_CORNERS = 512
STUDY_DIGITS = 8


class Range(FrozenSpec):
    """All numbers from `low` to `high`, both included; whole ones where the field holds whole numbers."""

    low: Number | str
    """A number, or the path of one in the spec."""
    high: Number | str
    log: bool = False
    """Whether equal ratios are equally likely, rather than equal differences."""
    step: Number | None = None
    """Distance of neighbors, counted from `low`; None for all numbers of the field's type."""


class Choice(FrozenSpec):
    """A few values without order."""

    values: tuple[Simple, ...]


Domain = Range | Choice


class Objective(FrozenSpec):
    """A number of a trial that is to be made large or small."""

    metric: str
    """Subset and measure, such as `cross/motion`, or `seconds`."""
    direction: Literal["maximize", "minimize"]


class Limit(FrozenSpec):
    """A number of a trial that must stay on one side of a bound."""

    metric: str
    at_least: Number | None = None
    at_most: Number | None = None

    def excess(self, value: float) -> float:
        """How far the value is beyond the bound, in the metric's unit; 0 or less when it is allowed."""
        below = -math.inf if self.at_least is None else self.at_least - value
        above = -math.inf if self.at_most is None else value - self.at_most
        return max(below, above)


class Sweep(FrozenSpec):
    """What is searched, for what, and how. Each trial edits the base spec; seeds count up from its seed."""

    question: str
    space: dict[str, Domain]
    objectives: tuple[Objective, ...]
    constraints: tuple[Limit, ...] = ()
    sampler: Sampler = "tpe"
    pruner: Pruner = "none"
    """hyperband: gives up a training whose loss is among the worse at its step. wilcoxon: leaves out further seeds of a
    trial that is already worse than the best one, seed by seed."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    """Runs of a trial. The objective is their mean; all trials share the seeds."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that a trial must have."""
        wanted = [goal.metric for goal in self.objectives] + [limit.metric for limit in self.constraints]
        return tuple(dict.fromkeys(wanted))


def journal_address(place: Path) -> str:
    """Where studies are kept unless a server is named: one file, appended to."""
    return str(place / "journal.log")


def storage_file(address: str) -> Path | None:
    """The file that a storage's address names, links followed; None for a server."""
    database = sqlite_file(address)
    if database is not None:
        return database.resolve()
    return None if "://" in address else Path(address).resolve()


def located(address: str) -> str:
    """The address of the same storage from any working directory: a file's in full, a server's as it is."""
    file = storage_file(address)
    scheme = "sqlite:///" if "://" in address else ""
    return address if file is None else f"{scheme}{file}"


def study_name(name: str, sweep: Sweep, spec: ExperimentSpec) -> str:
    """The name, then 8 hex digits that change with the sweep and with what names its runs."""
    searched = [name, sweep.model_dump(mode="json"), stage_fingerprint(spec, "cross_id")]
    content = json.dumps(searched, sort_keys=True, allow_nan=False)
    return f"{name}-{digest(content, STUDY_DIGITS)}"


def legal_metrics(spec: ExperimentSpec) -> tuple[str, ...]:
    """Every metric that a run of the spec has: the scores by ground truth, and what its networks allow to measure."""
    from experiments.evaluation.measures import metrics_for  # slow: networks come with it

    of_the_field = [metric.name for metric in metrics_for(spec.evaluation.networks or ())]
    return (*_scores(spec), *(f"{subset}/{name}" for subset in spec.evaluation.subsets for name in of_the_field))


def _scores(spec: ExperimentSpec) -> tuple[str, ...]:
    return (*(f"{subset}/{name}" for subset in spec.evaluation.subsets for name in METRICS), SECONDS)


def checked(sweep: Sweep, spec: ExperimentSpec) -> Sweep:
    """The sweep with bounds that name a path replaced by its value in `spec`; every corner is then a legal spec.

    Raises: UserError, in one line, naming what cannot be searched and why."""
    _refuse([*_path_faults(sweep), *_goal_faults(sweep, spec)])
    bounded = sweep.model_copy(update={"space": _bounded(sweep.space, spec)})
    _refuse([fault for path, domain in bounded.space.items() for fault in _domain_faults(path, domain)])
    _refuse([*_unread_faults(bounded, spec), *_pruner_faults(bounded)])
    edit(spec, {"seed": spec.seed + sweep.seeds - 1})
    for corner in _corners(bounded.space):
        edit(spec, corner)
    return bounded


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        raise UserError(" | ".join(faults))


def _path_faults(sweep: Sweep) -> Iterator[str]:
    if not sweep.space:
        yield "nothing to search: the space is empty"
    legal = fields(ExperimentSpec)
    for path in sweep.space:
        if path == "seed":
            yield "seed: seeds are paired, not searched; use seeds=NUMBER"
        elif path not in legal:
            yield unknown_path(ExperimentSpec, path)


def _goal_faults(sweep: Sweep, spec: ExperimentSpec) -> Iterator[str]:
    if not sweep.objectives:
        yield "no objective: name at least one metric"
    wanted, scores = sweep.metrics, _scores(spec)
    legal = scores if set(wanted) <= set(scores) else legal_metrics(spec)
    for metric in wanted:
        if metric not in legal:
            yield f"unknown metric {metric!r}: known are {', '.join(legal)}{did_you_mean(metric, legal)}"
    for names in ([goal.metric for goal in sweep.objectives], [limit.metric for limit in sweep.constraints]):
        yield from (f"{name} is named twice" for name in dict.fromkeys(names) if names.count(name) > 1)
    for limit in sweep.constraints:
        if limit.at_least is None and limit.at_most is None:
            yield f"{limit.metric}: a constraint needs at_least or at_most"
        elif limit.at_least is not None and limit.at_most is not None and limit.at_least > limit.at_most:
            yield f"{limit.metric}: no value is at_least={limit.at_least} and at_most={limit.at_most}"


def _bounded(space: Mapping[str, Domain], spec: ExperimentSpec) -> dict[str, Domain]:
    def number(bound: Number | str) -> Number:
        if not isinstance(bound, str):
            return bound
        values = leaves(spec)
        if bound not in values:
            raise UserError(unknown_path(ExperimentSpec, bound))
        if bound in space:
            raise UserError(f"{bound} is searched itself, so it can be no bound")
        value = values[bound]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"{bound}={format_value(value)} is no number, so it can be no bound")
        return value

    return {
        path: domain
        if isinstance(domain, Choice)
        else domain.model_copy(update={"low": number(domain.low), "high": number(domain.high)})
        for path, domain in space.items()
    }


def ends(domain: Range) -> tuple[Number, Number]:
    """Lowest and highest value of a range whose bounds are numbers."""
    assert not isinstance(domain.low, str)
    assert not isinstance(domain.high, str)
    return domain.low, domain.high


def holds_integers(path: str) -> bool:
    """Whether the field at this path holds whole numbers alone."""
    return set(kinds(fields(ExperimentSpec)[path].annotation)) <= {int, type(None)}


def _domain_faults(path: str, domain: Domain) -> Iterator[str]:
    if isinstance(domain, Choice):
        distinct = {(type(value), value) for value in domain.values}
        if len(distinct) < 2:
            yield f"{path}: {'one value is no choice' if distinct else 'empty: no values to choose from'}"
        return
    low, high = ends(domain)
    if not set(kinds(fields(ExperimentSpec)[path].annotation)) & {int, float}:
        yield f"{path}: a range needs a number; name the values instead"
    elif holds_integers(path) and not all(isinstance(end, int) for end in (low, high, domain.step or 1)):
        yield f"{path}: whole numbers are needed, got {_spelled(domain)}"
    elif low > high:
        yield f"{path}: empty, {_spelled(domain)}"
    elif low == high:
        yield f"{path}: one value is no range, {_spelled(domain)}"
    elif domain.log and low <= 0:
        yield f"{path}: log=true needs low > 0, got low={low}"
    elif domain.step is not None:
        yield from _step_faults(path, domain, domain.step)


def _step_faults(path: str, domain: Range, step: Number) -> Iterator[str]:
    low, high = ends(domain)
    if step <= 0:
        yield f"{path}: step={step} must be > 0"
    elif domain.log:
        yield f"{path}: log=true and step={step} exclude each other"
    elif math.isinf((high - low) / step) or not math.isclose(
        (high - low) / step, round((high - low) / step), abs_tol=1e-9
    ):
        yield f"{path}: step={step} does not divide {_spelled(domain)}"


def _spelled(domain: Range) -> str:
    return f"low={domain.low} high={domain.high}"


def _unread_faults(sweep: Sweep, spec: ExperimentSpec) -> Iterator[str]:
    """Searching what a switched-off part would read finds nothing."""
    values = leaves(spec)
    for path in sweep.space:
        switch = f"{path.rpartition('.')[0]}.enabled"
        if path != switch and switch not in sweep.space and values.get(switch) is False:
            yield f"{switch}=false: nothing reads {path}"


def _pruner_faults(sweep: Sweep) -> Iterator[str]:
    if sweep.pruner == "none":
        return
    if len(sweep.objectives) > 1:
        yield f"pruner={sweep.pruner} needs a single objective, got {len(sweep.objectives)}"
    if sweep.pruner == "wilcoxon" and sweep.seeds < MIN_WILCOXON_SEEDS:
        yield f"seeds={sweep.seeds}: must be >= {MIN_WILCOXON_SEEDS} with pruner=wilcoxon, or no test could tell"
    if sweep.pruner == "hyperband":
        if sweep.seeds > 1:
            yield f"seeds={sweep.seeds}: must be 1 with pruner=hyperband, which watches one training"
        unlike = [path for path in sweep.space if path.startswith(UNLIKE_LOSSES)]
        yield from (f"{path} changes what the loss measures, which pruner=hyperband compares" for path in unlike)


def _corners(space: Mapping[str, Domain]) -> Iterator[dict[str, Simple]]:
    """Combinations of ends and choices: each value at least once, and all combinations unless they are too many."""
    values = [domain.values if isinstance(domain, Choice) else _cast(path, domain) for path, domain in space.items()]
    rows = range(max(map(len, values)))
    side_by_side = (tuple(options[min(row, len(options) - 1)] for options in values) for row in rows)
    for corner in itertools.chain(side_by_side, itertools.islice(itertools.product(*values), MOST_CORNERS)):
        yield dict(zip(space, corner, strict=True))


def _cast(path: str, domain: Range) -> tuple[Number, Number]:
    low, high = ends(domain)
    return (low, high) if holds_integers(path) else (float(low), float(high))
