"""Measures a folder of generated clips against a folder of true ones, whatever made them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from directanimator.errors import UserError
from directanimator.metrics.catalog import ROLES, ClipEvidence, Role, extractors_of
from directanimator.metrics.clip_folder import ClipFacts, ClipFile, clips_of, differences, read_clip
from directanimator.metrics.feature_cache import FeatureCache
from directanimator.metrics.features import Frames, Networks
from directanimator.metrics.measurement import (
    DEFAULT_WINDOW,
    Collected,
    Failure,
    Measurement,
    Metrics,
    Setting,
    evidence_of,
    result_of,
    usable,
)
from directanimator.progress import progress

Match = Literal["all", "common"]
MAX_LISTED = 20


@dataclass(frozen=True)
class Folders:
    """Where the clips of each role lie; reference and driving may be missing."""

    paths: Mapping[Role, Path]

    def __post_init__(self) -> None:
        if not {"generated", "target"} <= self.paths.keys():
            raise UserError("want both generated=DIR and target=DIR")


def measure(
    folders: Folders,
    metrics: Metrics,
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
    chosen, unavailable = usable(metrics, networks, folders.paths)
    collected = Collected()
    for name in progress(names, "clips", total=len(names)):
        try:
            evidence = _evidence(name, lengths[name], survey, extractors_of(chosen), window, networks, cache)
        except _UnreadableError as problem:
            collected.failures.append(Failure(name, problem.role, str(problem)))
            continue
        collected.add(name, evidence, chosen, networks)
    failures = [*survey.failures, *collected.failures]
    setting = Setting(survey.facts, names, lengths, window)
    results = [result_of(metric, collected, setting, failures) for metric in chosen]
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
    named = [(clip, line) for clip in sorted(found) for line in found[clip]]
    lines = [line for _, line in named]
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
    return names, lengths, [_as_left_out(clip, line, lengths) for clip, line in named]


def _nothing_left(survey: _Survey, lines: Sequence[str]) -> str:
    reasons = [*lines, *(f"{failure.clip}: {failure.reason}" for failure in survey.failures)]
    return f"no clip is left to measure: {'; '.join(reasons[:3])}{' ...' if len(reasons) > 3 else ''}"


def _as_left_out(name: str, line: str, lengths: Mapping[str, int]) -> str:
    return f"{line} (the first {lengths[name]} are measured)" if name in lengths else f"{line} (left out)"


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
    frames = {role: _read(files[name], role)[: None if role == "reference" else length]
              for role, files in survey.files.items()}  # fmt: skip
    sha256 = {role: survey.facts[role][name].sha256 for role in frames}
    return evidence_of(frames, sha256, extractors, window, networks, cache)


def _read(file: ClipFile, role: Role) -> Frames:
    try:
        return read_clip(file).frames
    except UserError as problem:
        raise _UnreadableError(role, str(problem)) from problem
