"""Measures a folder of generated clips against a folder of true ones, whatever made them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from directanimator.errors import UserError
from directanimator.metrics.catalog import (
    ROLES,
    ClipEvidence,
    ClipMetric,
    Metric,
    Role,
    SetMetric,
    extractors_of,
    network_of,
)
from directanimator.metrics.clip_folder import (
    ClipFacts,
    ClipFile,
    clips_of,
    differences,
    read_clip,
    set_digest,
)
from directanimator.metrics.feature_cache import FeatureCache
from directanimator.metrics.features import EXTRACTORS, Frames, Networks, Observed, observe, with_needed
from directanimator.metrics.frechet import small_sample_bias
from directanimator.metrics.intervals import Interval, bootstrap_mean
from directanimator.metrics.protocol import MetricProtocol
from directanimator.progress import progress

Match = Literal["all", "common"]
MAX_LISTED = 20
DEFAULT_WINDOW = 16
"""Frames per I3D feature, as the original FVD."""


@dataclass(frozen=True)
class Folders:
    """Where the clips of each role lie; reference and driving may be missing."""

    paths: Mapping[Role, Path]

    def __post_init__(self) -> None:
        if not {"generated", "target"} <= self.paths.keys():
            raise UserError("want both generated=DIR and target=DIR")


@dataclass(frozen=True)
class Failure:
    """A clip that has no value where it should have one."""

    clip: str
    where: str
    """A role (`generated`, ...) when the clip could not be read, else the metric."""
    reason: str


@dataclass(frozen=True)
class Measured:
    """One metric's result."""

    metric: Metric
    value: float
    """Mean over clips, or the distance of the sets; NaN when nothing could be measured."""
    protocol: MetricProtocol
    interval: Interval | None = None
    """None for a distance of sets."""
    clips: Mapping[str, float] = field(default_factory=dict)
    """By clip; NaN for one without value."""
    truth: float | None = None
    """What the target itself gets, where that is not the best value."""
    bias: float | None = None
    """What a distance of sets would be if both came from the target's distribution."""


@dataclass(frozen=True)
class Measurement:
    """All that was measured, and all that was not."""

    results: list[Measured]
    failures: list[Failure]
    unavailable: Mapping[str, str]
    """Metrics that could not be measured at all, with the reason."""
    left_out: list[str]
    """What match=common did not take."""
    notes: list[str]
    clips: list[str]


def measure(
    folders: Folders,
    metrics: Sequence[ClipMetric | SetMetric],
    match: Match = "all",
    window: int = DEFAULT_WINDOW,
    cache: FeatureCache | None = None,
    networks: Networks | None = None,
) -> Measurement:
    """The metrics of the generated clips; features of all but these are looked up in the cache if there is one.

    Raises: UserError if a folder is missing or empty, the folders differ (with `match="all"`), or agree in nothing."""
    networks = networks or Networks()
    survey = _survey(folders)
    names, lengths, left_out = _matched(survey, match)
    usable, unavailable = _usable(metrics, networks, folders)
    collected = _Collected()
    for name in progress(names, "clips", total=len(names)):
        try:
            evidence = _evidence(name, lengths[name], survey, extractors_of(usable), window, networks, cache)
        except _UnreadableError as problem:
            collected.failures.append(Failure(name, problem.role, str(problem)))
            continue
        collected.add(name, evidence, usable, networks)
    failures = [*survey.failures, *collected.failures]
    about = _Setting(survey, names, lengths, window, set_digest({name: survey.facts["target"][name] for name in names}))
    results = [_result(metric, collected, about, failures) for metric in usable]
    return Measurement(results, failures, unavailable, left_out, [], sorted({*names, *survey.unreadable}))


# ---------------------------------------------------------------- what there is


@dataclass(frozen=True)
class _Survey:
    """The clips of each role: those that could be read, and those that could not."""

    files: Mapping[Role, Mapping[str, ClipFile]]
    facts: Mapping[Role, Mapping[str, ClipFacts]]
    failures: list[Failure]

    @property
    def unreadable(self) -> set[str]:
        return {failure.clip for failure in self.failures}


class _UnreadableError(Exception):
    def __init__(self, role: Role, reason: str) -> None:
        super().__init__(reason)
        self.role = role


def _survey(folders: Folders) -> _Survey:
    files = {role: clips_of(folders.paths[role], role) for role in ROLES if role in folders.paths}
    failures: list[Failure] = []
    facts: dict[Role, dict[str, ClipFacts]] = {role: {} for role in files}
    everything = [(role, file) for role, clips in files.items() for file in clips.values()]
    for role, file in progress(everything, "reading", total=len(everything)):
        try:
            facts[role][file.name] = read_clip(file).facts
        except UserError as problem:
            failures.append(Failure(file.name, role, str(problem)))
    return _Survey(files, facts, failures)


def _matched(survey: _Survey, match: Match) -> tuple[list[str], dict[str, int], list[str]]:
    """Names of the clips to measure, how many frames of each, and what is left out.

    A clip that one role cannot read is a failure and no difference."""
    readable = {
        role: {name: facts for name, facts in clips.items() if name not in survey.unreadable}
        for role, clips in survey.facts.items()
    }
    target = readable["target"]
    found: dict[str, list[str]] = {}
    for role in readable:
        if role != "target":
            for name, lines in differences(target, readable[role], role).items():
                found.setdefault(name, []).extend(lines)
    lines = [line for clip in sorted(found) for line in found[clip]]
    if match == "all" and lines:
        listed = lines[:MAX_LISTED] + ([f"and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else [])
        raise UserError("the folders differ; match=common takes what agrees:\n  " + "\n  ".join(listed))
    names, lengths = [], {}
    for name in sorted(target):
        if all(line.endswith(" frames") for line in found.get(name, [])):
            names.append(name)
            lengths[name] = min(clips[name].frames for role, clips in readable.items() if role != "reference")
    if not names:
        raise UserError(_nothing_left(survey, lines))
    return names, lengths, [_as_left_out(line, lengths) for line in lines]


def _nothing_left(survey: _Survey, lines: Sequence[str]) -> str:
    reasons = [*lines, *(f"{failure.clip}: {failure.reason}" for failure in survey.failures)]
    return f"no clip is left to measure: {'; '.join(reasons[:3])}{' ...' if len(reasons) > 3 else ''}"


def _as_left_out(line: str, lengths: Mapping[str, int]) -> str:
    name = line.partition(":")[0]
    return f"{line} (the first {lengths[name]} are measured)" if name in lengths else f"{line} (left out)"


def _usable(
    metrics: Sequence[ClipMetric | SetMetric], networks: Networks, folders: Folders
) -> tuple[list[ClipMetric | SetMetric], dict[str, str]]:
    """The metrics for which folders and weights are there, and why the others are not measured."""
    unavailable: dict[str, str] = {}
    broken: dict[str, str] = {}
    for name in with_needed([*extractors_of(metrics), *(metric.network for metric in metrics if metric.network)]):
        try:
            EXTRACTORS[name].load(networks)
        except UserError as problem:
            broken[name] = str(problem)
    for metric in metrics:
        absent = [role for role in metric.roles if role not in folders.paths]
        needed = with_needed([*metric.features, *([metric.network] if metric.network else [])])
        reasons = [broken[name] for name in needed if name in broken]
        if absent:
            unavailable[metric.name] = f"needs {' and '.join(f'{role}=DIR' for role in absent)}"
        elif reasons:
            unavailable[metric.name] = reasons[0]
    return [metric for metric in metrics if metric.name not in unavailable], unavailable


# ---------------------------------------------------------------- clip by clip


def _evidence(
    name: str,
    length: int,
    survey: _Survey,
    extractors: Sequence[str],
    window: int,
    networks: Networks,
    cache: FeatureCache | None,
) -> ClipEvidence:
    observed: dict[Role, Observed] = {}
    for role, files in survey.files.items():
        frames = _read(files[name], role)
        if role != "reference":
            frames = frames[:length]
        wanted = _wanted(role, extractors)
        # What the generated clips look like will not be asked again.
        kept = cache if role != "generated" else None
        sha256 = f"{survey.facts[role][name].sha256} first {len(frames)}"
        observed[role] = observe(networks, frames, wanted, window, kept, sha256)
    return ClipEvidence(observed["generated"], observed["target"], observed.get("reference"), observed.get("driving"))


def _read(file: ClipFile, role: Role) -> Frames:
    try:
        return read_clip(file).frames
    except UserError as problem:
        raise _UnreadableError(role, str(problem)) from problem


def _wanted(role: Role, extractors: Sequence[str]) -> list[str]:
    """Of a reference only the face is looked at, of a driver only the person."""
    if role == "reference":
        return [name for name in extractors if name == "dlib_face"]
    return [name for name in extractors if name == "person"] if role == "driving" else list(extractors)


@dataclass
class _Collected:
    """Values and feature vectors as the clips come by."""

    values: dict[str, dict[str, float]] = field(default_factory=dict)
    truths: dict[str, list[float]] = field(default_factory=dict)
    vectors: dict[tuple[str, Role], list[np.ndarray]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def add(
        self, name: str, evidence: ClipEvidence, metrics: Iterable[ClipMetric | SetMetric], networks: Networks
    ) -> None:
        for metric in metrics:
            if isinstance(metric, ClipMetric):
                self._add_value(name, evidence, metric, networks)
        for array in {metric.array for metric in metrics if isinstance(metric, SetMetric)}:
            self.vectors.setdefault((array, "generated"), []).append(evidence.generated.features[array])
            self.vectors.setdefault((array, "target"), []).append(evidence.target.features[array])

    def _add_value(self, name: str, evidence: ClipEvidence, metric: ClipMetric, networks: Networks) -> None:
        value, reason = math.nan, "in no frame was all that it needs found"
        try:
            value = float(metric.compute(evidence, networks))
        except ValueError as problem:
            reason = str(problem)
        self.values.setdefault(metric.name, {})[name] = value
        if math.isnan(value):
            self.failures.append(Failure(name, metric.name, reason))
        elif metric.has_ceiling:
            self.truths.setdefault(metric.name, []).append(metric.compute(evidence.of_truth, networks))


# ---------------------------------------------------------------- results


@dataclass(frozen=True)
class _Setting:
    survey: _Survey
    names: Sequence[str]
    lengths: Mapping[str, int]
    window: int
    digest: str

    def protocol(self, metric: Metric, clips: int, items: int) -> MetricProtocol:
        """How the metric was measured here."""
        network = network_of(metric)
        extractor = EXTRACTORS[network] if network else None
        resized = extractor.resize if extractor and not metric.network else "none"
        target = [self.survey.facts["target"][name] for name in self.names]
        generated = [self.survey.facts["generated"][name] for name in self.names]
        rates = {facts.fps for facts in (*generated, *target) if facts.fps}
        return MetricProtocol(
            metric=metric.name,
            version=metric.version,
            parameters=metric.parameters,
            decoder=f"{_joined(facts.decoder for facts in generated)} against "
            + _joined(facts.decoder for facts in target),
            size=_joined(f"{facts.height}x{facts.width}" for facts in target),
            resize=resized,
            fps=_joined(f"{rate:g}" for rate in rates) or "unknown",
            frames=_joined(str(self.lengths[name]) for name in self.names),
            window=self.window if extractor and extractor.windowed else None,
            clips=clips,
            items=items,
            network=f"{network} {extractor.version}" if extractor else "",
            weights=extractor.weights if extractor else "",
            target=self.digest,
        )


def _joined(values: Iterable[str]) -> str:
    return "+".join(sorted(set(values)))


def _result(
    metric: ClipMetric | SetMetric, collected: _Collected, setting: _Setting, failures: list[Failure]
) -> Measured:
    if isinstance(metric, SetMetric):
        return _set_result(metric, collected, setting, failures)
    values = collected.values.get(metric.name, {})
    interval = bootstrap_mean(list(values.values()))
    truths = collected.truths.get(metric.name)
    return Measured(
        metric,
        interval.mean,
        setting.protocol(metric, interval.n, interval.n),
        interval,
        values,
        truth=float(np.nanmean(truths)) if truths else None,
    )


def _set_result(metric: SetMetric, collected: _Collected, setting: _Setting, failures: list[Failure]) -> Measured:
    made = collected.vectors.get((metric.array, "generated"), [])
    true = collected.vectors.get((metric.array, "target"), [])
    clips, count = sum(len(part) > 0 for part in true), sum(map(len, true))
    protocol = setting.protocol(metric, clips, count)
    try:
        target = np.concatenate(true)
        value = metric.compute(np.concatenate(made), target)
    except ValueError as problem:
        failures.append(Failure("all clips", metric.name, str(problem)))
        return Measured(metric, math.nan, protocol)
    return Measured(metric, value, protocol, bias=small_sample_bias(target) if metric.biased else 0.0)
