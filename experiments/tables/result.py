"""A finished table read from its runs: scores, paired effects, verdicts, curves and costs. Trains nothing."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ablations.registry import ABLATIONS
from directanimator.errors import UserError
from directanimator.metrics.protocol import MetricProtocol, Protocol, compare
from directanimator.places import runs_root
from experiments.evaluation.comparison import Columns, bounds_by_clip, check_targets, scores_by_clip
from experiments.evaluation.evaluate import read_evaluation
from experiments.record import (
    COMPUTED_IN_TAG,
    EDITED,
    HELD_OUT_LOSS,
    RunDirectory,
    each_of,
    peak_memory,
    training_seconds,
)
from experiments.spec import STAGES
from experiments.tables.convergence import Curve, SpeedUp, speed_up
from experiments.tables.measured import Column, check_alike, measured_columns
from experiments.tables.plan import BASELINE, Plan
from experiments.tables.statistics import Effect, Hypothesis, Judgement, Samples, judge, paired_effect


@dataclass(frozen=True)
class TableResult:
    """All that a report of a table says."""

    plan: Plan
    protocol: Protocol
    """Of the scores by ground truth."""
    measured: Mapping[str, MetricProtocol]
    """Of each other `subset/metric`."""
    samples: Mapping[str, Mapping[str, Samples]]
    """Scores by variant, then by `subset/metric`."""
    bounds: Mapping[str, Columns]
    """Scores of the trivial answers and of the ceiling, by title and `subset/metric`."""
    effects: Mapping[str, Mapping[str, Effect]]
    """Variant minus full method, by variant and `subset/metric`, where both have values."""
    judgements: Mapping[str, Judgement]
    """By variant, on the metric that its ablation names; a variant whose metric is not measured has none."""
    curves: Mapping[str, Mapping[int, Curve]]
    """Held-out loss of the cross-ID stage by variant and seed, where it was recorded."""
    speed_ups: tuple[SpeedUp, ...]
    seconds: Mapping[str, float]
    """Training seconds of a run of the variant, both stages, mean over seeds."""
    megabytes: Mapping[str, float]
    """The most memory that a run of the variant held in either stage, over all seeds; NaN if no run tells."""
    seconds_shared: float
    """Training seconds of the whole table, each stage counted once."""
    computed_in: tuple[str, ...]
    """Every precision and number of threads that its stages were computed in; seconds compare where it is one."""
    made_by: tuple[str, ...]
    """Every commit that made one of its stages, or a part of one."""

    @property
    def columns(self) -> list[str]:
        """Every measured `subset/metric`, in the order of the evaluation."""
        return list(self.samples[BASELINE])

    def clips(self, subset: str) -> int:
        """Clips of a subset."""
        every = [seeds for column, seeds in self.samples[BASELINE].items() if column.startswith(f"{subset}/")]
        return max(len(clips) for seeds in every for clips in seeds.values())

    def counted(self, column: str) -> tuple[int, int]:
        """Fewest and most clips with a value, of any run."""
        counts = [
            sum(not math.isnan(value) for value in clips.values())
            for columns in self.samples.values()
            for clips in columns.get(column, {}).values()
        ]
        return min(counts), max(counts)

    def bound(self, title: str, column: str) -> float:
        """Mean over clips of an answer without a model; NaN if it has none."""
        return _mean(list(self.bounds[title].get(column, {}).values()))

    def mean(self, variant: str, column: str) -> float:
        """Mean over the clips of each seed, then over seeds; NaN if nothing was measured."""
        by_seed = [_mean(list(clips.values())) for clips in self.samples[variant].get(column, {}).values()]
        return _mean(by_seed)


def _mean(values: list[float]) -> float:
    kept = [value for value in values if not math.isnan(value)]
    return math.fsum(kept) / len(kept) if kept else math.nan


def read_table(plan: Plan) -> TableResult:
    """The result of a table whose runs are all finished.

    Raises: UserError naming the run whose record was edited or cannot be used, or if the runs were measured
        differently."""
    protocols: list[Protocol] = []
    measured: dict[str, Column] = {}
    samples: dict[str, dict[str, dict[int, Mapping[int, float]]]] = {name: {} for name in plan.variants}
    evaluations: dict[str, dict[str, object]] = {}
    for name in dict.fromkeys(run.stage(stage) for run in plan.runs for stage in STAGES):
        _check_is_as_it_was(_directory(name))
    for run in plan.runs:
        directory, name = _directory(run.stage("cross_id")), f"{run.variant}, seed {run.seed}"
        evaluations[name] = read_evaluation(directory)
        protocol, columns, others = _scores(name, evaluations[name], directory)
        protocols.append(protocol)
        for column, other in others.items():
            check_alike(column, measured.setdefault(column, other), other)
        for column, clips in {**columns, **{column: other.values for column, other in others.items()}}.items():
            samples[run.variant].setdefault(column, {})[run.seed] = clips
    for protocol in protocols[1:]:
        compare(protocols[0], protocol)
    check_targets(evaluations)
    curves = {name: _curves(plan, name) for name in plan.variants}
    effects = {name: _effects(samples[name], samples[BASELINE]) for name in plan.table.variants}
    stage_seconds = {run.stage(stage): training_seconds(_directory(run.stage(stage)).metrics.read())
                     for run in plan.runs for stage in STAGES}  # fmt: skip
    return TableResult(
        plan=plan,
        protocol=protocols[0],
        measured={name: column.protocol for name, column in measured.items()},
        samples=samples,
        bounds=bounds_by_clip(evaluations),
        effects=effects,
        judgements=judge(_expected(effects)),
        curves=curves,
        speed_ups=tuple(_speed_ups(plan, curves)),
        seconds={name: _seconds(plan, name, stage_seconds) for name in plan.variants},
        megabytes={name: _megabytes(plan, name) for name in plan.variants},
        seconds_shared=math.fsum(stage_seconds.values()),
        computed_in=_told(COMPUTED_IN_TAG, stage_seconds),
        made_by=tuple(sorted({one for told in _told("commit", stage_seconds) for one in each_of(told)})),
    )


def _told(tag: str, stages: Iterable[str]) -> tuple[str, ...]:
    """What the stages' records say under a tag, each once."""
    return tuple(sorted({_directory(name).record().tags.get(tag, "?") for name in stages}))


def _directory(name: str) -> RunDirectory:
    return RunDirectory(runs_root() / name)


def _check_is_as_it_was(run: RunDirectory) -> None:
    if run.was_edited():
        raise UserError(f"{run.path} {EDITED}; remove the directory, and the run is made anew")


def _scores(
    name: str, evaluation: Mapping[str, object], run: RunDirectory
) -> tuple[Protocol, Columns, dict[str, Column]]:
    try:
        return *scores_by_clip(name, evaluation), measured_columns(name, evaluation)
    except UserError as problem:
        raise UserError(
            f"{run.evaluation_file} cannot be used ({problem}); remove it, and the run is evaluated again"
        ) from problem


def _effects(variant: Mapping[str, Samples], baseline: Mapping[str, Samples]) -> dict[str, Effect]:
    found = {}
    for column in baseline:
        if _shares_a_value(variant.get(column, {}), baseline[column]):
            found[column] = paired_effect(variant[column], baseline[column])
    return found


def _shares_a_value(one: Samples, other: Samples) -> bool:
    return any(
        not math.isnan(value - other[seed].get(clip, math.nan))
        for seed, clips in one.items()
        if seed in other
        for clip, value in clips.items()
    )


def _expected(effects: Mapping[str, Mapping[str, Effect]]) -> dict[str, tuple[Effect, Hypothesis]]:
    found = {}
    for name, columns in effects.items():
        expects = ABLATIONS[name].expects
        if expects is not None and expects.metric in columns:
            found[name] = (columns[expects.metric], Hypothesis(expects.direction, expects.at_least))
    return found


# ---------------------------------------------------------------- curves and costs


def _curves(plan: Plan, variant: str) -> dict[int, Curve]:
    found = {}
    for seed in plan.seeds:
        log = _directory(plan.run(variant, seed).stage("cross_id")).metrics.read()
        points = [(record.step, record.values[HELD_OUT_LOSS]) for record in log if HELD_OUT_LOSS in record.values]
        if points:
            steps, losses = zip(*points, strict=True)
            found[seed] = Curve(steps, losses)
    return found


def _speed_ups(plan: Plan, curves: Mapping[str, Mapping[int, Curve]]) -> list[SpeedUp]:
    found = []
    for variant, against in plan.table.convergence:
        pairs = [
            (curves[variant][seed], curves[against][seed])
            for seed in plan.seeds
            if seed in curves[variant] and seed in curves[against]
        ]
        if pairs:
            found.append(speed_up(variant, against, pairs))
    return found


def _seconds(plan: Plan, variant: str, stage_seconds: Mapping[str, float]) -> float:
    names = [plan.run(variant, seed).stage(stage) for seed in plan.seeds for stage in STAGES]
    return math.fsum(stage_seconds[name] for name in names) / len(plan.seeds)


def _megabytes(plan: Plan, variant: str) -> float:
    names = {plan.run(variant, seed).stage(stage) for seed in plan.seeds for stage in STAGES}
    return peak_memory([record for name in sorted(names) for record in _directory(name).system.read()])
