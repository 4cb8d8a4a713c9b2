"""What the metrics of a set of clips come to: values, how sure they are, by which protocol, and what has no value."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from directanimator.errors import UserError
from directanimator.metrics.catalog import (
    ClipEvidence,
    ClipMetric,
    Metric,
    Role,
    SetMetric,
    extractors_of,
    network_of,
    networks_of,
)
from directanimator.metrics.clip_folder import Clip, ClipFacts, set_digest
from directanimator.metrics.feature_cache import FeatureCache
from directanimator.metrics.features import EXTRACTORS, Frames, Networks, Observed, observe, with_needed
from directanimator.metrics.frechet import small_sample_bias
from directanimator.metrics.intervals import Interval, mean_interval
from directanimator.metrics.protocol import MetricProtocol
from directanimator.progress import progress

DEFAULT_WINDOW = 16
"""Frames per I3D feature, as the original FVD."""

Metrics = Sequence[ClipMetric | SetMetric]


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


def measure_clips(
    clips: Mapping[str, Mapping[Role, Clip]],
    metrics: Metrics,
    window: int = DEFAULT_WINDOW,
    cache: FeatureCache | None = None,
    networks: Networks | None = None,
) -> Measurement:
    """The metrics of clips that are in memory, each in its roles; features of all but the generated ones are cached.

    Raises: KeyError if a clip lacks `generated` or `target`."""
    networks = networks or Networks()
    roles: set[Role] = set.intersection(*(set(clip) for clip in clips.values()))
    chosen, unavailable = usable(metrics, networks, roles)
    facts: dict[Role, dict[str, ClipFacts]] = {
        role: {name: clip[role].facts for name, clip in clips.items()} for role in sorted(roles)
    }
    collected = Collected()
    for name, clip in progress(clips.items(), "metrics", total=len(clips)):
        frames = {role: clip[role].frames for role in facts}
        keys = {role: facts[role][name].sha256 for role in facts}
        found = evidence_of(frames, keys, extractors_of(chosen), window, networks, cache)
        collected.add(name, found, chosen, networks)
    setting = Setting(facts, list(clips), {name: facts["target"][name].frames for name in clips}, window)
    failures = list(collected.failures)
    results = [result_of(metric, collected, setting, failures) for metric in chosen]
    return Measurement(results, failures, unavailable, [], [], sorted(clips))


def usable(metrics: Metrics, networks: Networks, roles: Iterable[Role]) -> tuple[Metrics, dict[str, str]]:
    """The metrics for which roles and weights are there, and why the others are not measured."""
    given = set(roles)
    unavailable: dict[str, str] = {}
    broken: dict[str, str] = {}
    for name in with_needed([*extractors_of(metrics), *(metric.network for metric in metrics if metric.network)]):
        try:
            EXTRACTORS[name].load(networks)
        except UserError as problem:
            broken[name] = str(problem)
    for metric in metrics:
        absent = [role for role in metric.roles if role not in given]
        reasons = [broken[name] for name in networks_of(metric) if name in broken]
        if absent:
            unavailable[metric.name] = f"needs {' and '.join(f'{role}=DIR' for role in absent)}"
        elif reasons:
            unavailable[metric.name] = reasons[0]
    return [metric for metric in metrics if metric.name not in unavailable], unavailable


def evidence_of(
    frames: Mapping[Role, Frames],
    sha256: Mapping[Role, str],
    extractors: Sequence[str],
    window: int,
    networks: Networks,
    cache: FeatureCache | None,
) -> ClipEvidence:
    """What the networks say about one clip in its roles; `sha256` names each role's pixels in the cache."""
    observed: dict[Role, Observed] = {}
    for role, pixels in frames.items():
        # What the generated clips look like will not be asked again.
        kept = cache if role != "generated" else None
        key = f"{sha256[role]} first {len(pixels)}"
        observed[role] = observe(networks, pixels, _wanted(role, extractors), window, kept, key)
    return ClipEvidence(observed["generated"], observed["target"], observed.get("reference"), observed.get("driving"))


def _wanted(role: Role, extractors: Sequence[str]) -> list[str]:
    """Of a reference only the face is looked at, of a driver only the person."""
    if role == "reference":
        return [name for name in extractors if name in ("dlib_face", "arcface")]
    return [name for name in extractors if name in ("person", "dwpose")] if role == "driving" else list(extractors)


@dataclass
class Collected:
    """Values and feature vectors as the clips come by."""

    values: dict[str, dict[str, float]] = field(default_factory=dict)
    truths: dict[str, list[float]] = field(default_factory=dict)
    vectors: dict[tuple[str, Role], list[np.ndarray]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def add(self, name: str, evidence: ClipEvidence, metrics: Metrics, networks: Networks) -> None:
        """Nothing; takes what the metrics need of one clip."""
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


@dataclass(frozen=True)
class Setting:
    """What was measured: the clips by role, how much of each, in which windows."""

    facts: Mapping[Role, Mapping[str, ClipFacts]]
    names: Sequence[str]
    lengths: Mapping[str, int]
    window: int

    def protocol(self, metric: Metric, clips: int, items: int) -> MetricProtocol:
        """How the metric was measured here."""
        network = network_of(metric)
        extractor = EXTRACTORS[network] if network else None
        everyone = [EXTRACTORS[name] for name in networks_of(metric)]
        resized = extractor.resize if extractor and not metric.network else "none"
        target = [self.facts["target"][name] for name in self.names]
        generated = [self.facts["generated"][name] for name in self.names]
        rates = {facts.fps for facts in (*generated, *target) if facts.fps}
        return MetricProtocol(
            metric=metric.name,
            version=metric.version,
            parameters=" ".join([*([metric.parameters] if metric.parameters else []), *self._others(metric)]),
            decoder=f"{_joined(facts.decoder for facts in generated)} against "
            + _joined(facts.decoder for facts in target),
            size=_joined(f"{facts.height}x{facts.width}" for facts in target),
            resize=resized,
            fps=_joined(f"{rate:g}" for rate in rates) or "unknown",
            frames=_joined(str(self.lengths[name]) for name in self.names),
            window=self.window if extractor and extractor.windowed else None,
            clips=clips,
            items=items,
            network="+".join(f"{one.name} {one.version}" for one in everyone),
            weights="+".join(one.weights for one in everyone),
            target=self._digest("target"),
        )

    def _others(self, metric: Metric) -> list[str]:
        """What else than the target's pixels decides the value: whose motion is followed, who the reference is."""
        looked_at: list[Role] = list(metric.roles)
        if metric.follows_driver:
            looked_at.append("driving")
        return [f"{role}={self._digest(role)}" for role in looked_at if role in self.facts]

    def _digest(self, role: Role) -> str:
        return set_digest({name: self.facts[role][name] for name in self.names})


def _joined(values: Iterable[str]) -> str:
    return "+".join(sorted(set(values)))


def result_of(
    metric: ClipMetric | SetMetric, collected: Collected, setting: Setting, failures: list[Failure]
) -> Measured:
    """The metric's result; a distance that the sets do not have is added to the failures."""
    if isinstance(metric, SetMetric):
        return _set_result(metric, collected, setting, failures)
    values = collected.values.get(metric.name, {})
    interval = mean_interval(list(values.values()))
    truths = collected.truths.get(metric.name)
    return Measured(
        metric,
        interval.mean,
        setting.protocol(metric, interval.n, interval.n),
        interval,
        values,
        truth=float(np.nanmean(truths)) if truths else None,
    )


def _set_result(metric: SetMetric, collected: Collected, setting: Setting, failures: list[Failure]) -> Measured:
    made = collected.vectors.get((metric.array, "generated"), [])
    true = collected.vectors.get((metric.array, "target"), [])
    clips, count = sum(len(part) > 0 for part in true), sum(map(len, true))
    protocol = setting.protocol(metric, clips, count)
    try:
        value = metric.compute(made, true)
    except ValueError as problem:
        failures.append(Failure("all clips", metric.name, str(problem)))
        return Measured(metric, math.nan, protocol)
    return Measured(metric, value, protocol, bias=small_sample_bias(true) if metric.biased else 0.0)
