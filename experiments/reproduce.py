"""`python -m experiments.reproduce run=cross_id-ffe556`: rebuilds a run from its record, and says if the numbers agree.

Everything is made anew, clips and teacher included, in a place of its own; the recorded run is only read. Exit status
0 if every number is equal, 1 if one differs. The same command goes on after an interruption, unless the code is another
now, and shows what is finished; `--fresh` starts over. What nets saw in a folder's videos is not looked at again.
`micro_batch=N`, `checkpointing=true` and `sharding=true` are taken as `experiments.run` takes them."""

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from directanimator.digests import digest_of_file
from directanimator.errors import UserError, did_you_mean
from directanimator.places import RUNS_VARIABLE, mlruns_root, runs_root
from experiments.command_line import parse, run_main
from experiments.edit import edit, format_value, leaves
from experiments.execution import EXECUTION_WORDS, Execution, is_first_process, read_execution
from experiments.presets import SMOKE
from experiments.record import (
    COMPUTED_IN_TAG,
    EDITED,
    PREVIEWS,
    MetricRecord,
    RunDirectory,
    commit_tags,
    environment,
)
from experiments.spec import ExperimentSpec, Stage, stage_fingerprint, stage_name
from experiments.tracking.address import default_uri

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

OPTIONS = ("--fresh", "--debug", "--help")
WEIGHTS = "transformer/*.safetensors"
"""Several files where a model is large."""
SHOWN_PACKAGES = 5
NOWHERE = "nothing"
ALL_ELSE = "bounds, means and settings"
SHORTEST_START = 4
"""Characters of a name that may stand for the whole."""
DAMAGED = f"{EDITED}, so there is nothing to compare with"


@dataclass(frozen=True)
class Line:
    """One thing that was compared."""

    name: str
    agrees: bool
    words: str


def main(tokens: Sequence[str]) -> int:
    """Exit status: 0 if every number agrees, 1 if one differs, 130 after Ctrl-C, 75 after SIGTERM or SIGUSR1.

    Raises: UserError for an unknown run, or a record that cannot be trusted."""
    execution, others = read_execution(tokens)
    request = parse(others, keys=("run",), options=OPTIONS, also=EXECUTION_WORDS)
    if not tokens or "--help" in request.options:
        print(__doc__)
        return 0
    if "run" not in request.words or request.edits:
        raise UserError("reproduce takes run=ID alone: a name in mlruns/runs, a record's id, or MLflow's id of the run")
    run = find_run(request.words["run"])
    spec = recorded_spec(run)
    check_comparable(run, spec)
    if is_first_process():
        for note in notes(run, spec):
            print(f"note: {note}", flush=True)
    return _reproduce(run, spec, execution, fresh="--fresh" in request.options)


def _reproduce(run: RunDirectory, spec: ExperimentSpec, execution: Execution, fresh: bool) -> int:
    from experiments.experiment import run_experiment
    from experiments.stage import InterruptedTrainingError

    place = mlruns_root() / "reproductions" / run.path.name
    if is_first_process():
        _clear(place, stage_name(spec, "cross_id"), fresh)
    tags = run.record().tags
    told = {"preset": tags.get("preset", ""), "ablation": tags.get("ablation", ""), "reproduction_of": run.path.name}
    address = default_uri()
    try:
        with _runs_in(place):
            rebuilt = run_experiment(spec, told, address, adopt=False, execution=execution)
    except InterruptedTrainingError as stop:
        print(stop)
        return stop.exit_status
    if not is_first_process():
        return 0
    lines = compare(run, rebuilt)
    print(_rendered(run, rebuilt, lines))
    return 0 if all(line.agrees for line in lines) else 1


def _clear(place: Path, name: str, fresh: bool) -> None:
    """Nothing; removes an earlier rebuild if that is asked for or other code made it; says so if one is finished.

    Raises: UserError if another process is at it."""
    earlier = RunDirectory(place / runs_root().name / name)
    tags = earlier.record().tags if earlier.record_file.exists() else {}
    is_of_other_code = any(tags.get(tag, now) != now for tag, now in commit_tags().items())
    if is_of_other_code and not fresh:
        print(f"note: an earlier rebuild, of commit {tags['commit'][:12]}, is made anew", flush=True)
    if fresh or is_of_other_code:
        with ExitStack() as held:
            for path in (place / runs_root().name).glob("*"):
                held.enter_context(RunDirectory(path).exclusive())
            shutil.rmtree(place, ignore_errors=True)
    elif tags and earlier.status == "finished":
        print("note: it was rebuilt before, by this very commit; --fresh makes it anew", flush=True)


@contextmanager
def _runs_in(place: Path) -> Iterator[None]:
    """A block in which runs, their clips and their cache go to another place."""
    old = os.environ.get(RUNS_VARIABLE)
    os.environ[RUNS_VARIABLE] = str(place)
    try:
        yield
    finally:
        if old is None:
            del os.environ[RUNS_VARIABLE]
        else:
            os.environ[RUNS_VARIABLE] = old


# ---------------------------------------------------------------- which run, and can its record be trusted


def find_run(word: str) -> RunDirectory:
    """The run of that path, name, beginning of a name, record id, or id on a tracking server.

    Raises: UserError if there is none, or several."""
    if "/" in word:
        return RunDirectory.open(Path(word))
    names = sorted(path.name for path in runs_root().glob("*") if (path / "record.json").exists())
    fitting = [name for name in names if name == word] or [
        name for name in names if len(word) >= SHORTEST_START and name.startswith(word)
    ]
    fitting = fitting or [name for name in names if word in _ids(runs_root() / name)]
    if len(fitting) > 1:
        raise UserError(f"run={word} fits {len(fitting)} runs: {', '.join(fitting[:3])}; write more of the name")
    if not fitting:
        raise UserError(f"unknown run {word!r} among {len(names)} in {runs_root()}{did_you_mean(word, names)}")
    return RunDirectory.open(runs_root() / fitting[0])


def _ids(path: Path) -> set[str]:
    record = RunDirectory.open(path).record()
    return {record.id, *(mirror.run_id for mirror in record.mirrors.values())}


def recorded_spec(run: RunDirectory) -> ExperimentSpec:
    """The spec that the run was made with, as its record says.

    Raises: UserError if the record is of a teacher, of another version, or was edited."""
    record = run.record()
    if record.tags.get("stage") == "same_id":
        raise UserError(f"{run.path.name} is a same-ID teacher: reproduce a student of it{_student_of(run)}")
    found = run.spec()
    _check_paths(run, found.keys())
    spec = edit(SMOKE.spec, {path: tuple(v) if isinstance(v, list) else v for path, v in found.items()})
    if stage_fingerprint(spec, "cross_id") != record.tags.get("fingerprint"):
        if run.was_edited():
            raise UserError(f"{run.spec_file} {DAMAGED}")
        unsealed = ", or was edited" if run.was_edited() is None else ""  # only what finished can tell
        other = f"was made with another version of the synthetic humans or of the base{unsealed}"
        raise UserError(f"{run.path.name} {other}")
    return spec


def _student_of(teacher: RunDirectory) -> str:
    for path in sorted(teacher.path.parent.glob("cross_id-*/record.json")):
        if RunDirectory.open(path.parent).record().tags.get("teacher_run") == teacher.path.name:
            return f", such as {path.parent.name}"
    return ""


def _check_paths(run: RunDirectory, found: "AbstractSet[str]") -> None:
    known = leaves(SMOKE.spec).keys()
    foreign = [f"this version knows no {path}" for path in sorted(found - known)]
    foreign += [f"it does not say {path}" for path in sorted(known - found)]
    if foreign:
        commit = run.record().tags.get("commit", "unknown")[:12]
        raise UserError(f"{run.path.name} is of another version of the spec (commit {commit}): {'; '.join(foreign)}")


def check_comparable(run: RunDirectory, spec: ExperimentSpec) -> None:
    """Nothing, if the run's numbers can be compared with new ones.

    Raises: UserError if the run is unfinished, was edited, was made of other videos, pairs or base than are there now,
        or was measured by another protocol."""
    from experiments.evaluation.evaluate import is_evaluated
    from experiments.evaluation.measures import networks_for
    from experiments.experiment import other_origin

    if run.status != "finished":
        raise UserError(f"{run.path.name} is {run.status}, not finished; finish it with the command that started it")
    teacher = RunDirectory.open(run.path.parent / run.record().tags["teacher_run"])
    for part in (run, teacher):
        if not part.evaluation_file.exists():
            raise UserError(f"{part.evaluation_file} is missing, so there is nothing to compare with")
        if part.was_edited():
            raise UserError(f"{part.path} {DAMAGED}")
    stages: dict[Stage, RunDirectory] = {"same_id": teacher, "cross_id": run}
    for stage, part in stages.items():
        if other := other_origin(part, spec, stage):
            raise UserError(f"{other}, so its numbers cannot be made again")
    if not is_evaluated(run, spec, networks_for(spec, "cross_id")):
        raise UserError(f"{run.path.name} was evaluated by another protocol; numbers of two protocols are not compared")


def notes(run: RunDirectory, spec: ExperimentSpec) -> list[str]:
    """What is different now and may be why numbers differ: processor, packages; and whether edits could go unseen."""
    from experiments.experiment import how_computed  # slow: torch comes with it

    found: list[str] = []
    before, here = run.record().tags.get(COMPUTED_IN_TAG), how_computed(spec)
    if before is not None and before != here:
        found.append(f"it was computed in {before}, and is now in {here}")
    if run.was_edited() is None:
        found.append("this run was recorded without a seal: edits of its numbers would go unseen")
    then, now = _packages(run.environment_file.read_text()), _packages(environment())
    changed = [f"{name} {then.get(name, 'none')} -> {now.get(name, 'none')}" for name in sorted({**then, **now})]
    changed = [words for words in changed if words.split()[1] != words.split()[3]]
    if changed:
        more = f" and {len(changed) - SHOWN_PACKAGES} more" if len(changed) > SHOWN_PACKAGES else ""
        found.append(f"packages differ: {', '.join(changed[:SHOWN_PACKAGES])}{more}")
    return found


def _packages(text: str) -> dict[str, str]:
    return {name: version for name, _, version in (line.partition("==") for line in text.splitlines())}


# ---------------------------------------------------------------- comparing


def compare(run: RunDirectory, rebuilt: RunDirectory) -> list[Line]:
    """What was compared: the curves, weights and evaluations of both stages, the student's number by number."""
    lines: list[Line] = []
    for name, pair in (("teacher", tuple(map(_teacher, (run, rebuilt)))), ("student", (run, rebuilt))):
        lines.append(compare_curves(name, *(part.metrics.read() for part in pair)))
        lines.append(_compare_weights(name, *(part.model for part in pair)))
    (taught, retaught), (old, new) = (
        [json.loads(part.evaluation_file.read_bytes()) for part in pair]
        for pair in (tuple(map(_teacher, (run, rebuilt))), (run, rebuilt))
    )
    return [*lines, *_compare_taught(taught, retaught), *compare_scores(old, new)]


def _compare_taught(old: Mapping[str, object], new: Mapping[str, object]) -> list[Line]:
    """Whether the teacher's scores agree, where they can: one that was trained for another run has that one's subsets,
    sampling and split."""
    clips, others = old["clips"], new["clips"]
    assert isinstance(clips, Mapping)
    assert isinstance(others, Mapping)
    is_alike = all(old.get(key) == new.get(key) for key in ("sampling", "protocol"))
    shared = [subset for subset in clips if subset in others] if is_alike else []
    first, second = ({subset: found[subset] for subset in shared} for found in (clips, others))
    return [_compare_part("teacher's scores", dict(_leaves(first)), dict(_leaves(second)))] if shared else []


def _teacher(run: RunDirectory) -> RunDirectory:
    return RunDirectory.open(run.path.parent / run.record().tags["teacher_run"])


def _compare_weights(name: str, old: Path, new: Path) -> Line:
    first, second = ({path.name: digest_of_file(path) for path in model.glob(WEIGHTS)} for model in (old, new))
    agrees = first == second and bool(first)
    return Line(f"{name}'s weights", agrees, "equal bit for bit" if agrees else "differ")


def compare_curves(name: str, old: Sequence[MetricRecord], new: Sequence[MetricRecord]) -> Line:
    """Whether two trainings logged the same values at the same steps; the clock does not matter.

    Nor do previews: a stage that was trained for another run has those of that run's sampling."""
    title = f"{name}'s loss"
    for first, second in zip(old, new, strict=False):
        if first.step != second.step or _exact(first.values) != _exact(second.values):
            return Line(title, False, f"differs from step {first.step} on")
    if len(old) != len(new):
        return Line(title, False, f"{len(old)} steps recorded, {len(new)} rebuilt")
    return Line(title, True, f"equal at all {len(old)} steps")


def _exact(values: Mapping[str, float]) -> dict[str, str]:
    """What was trained, to the last bit, in a form in which NaN equals NaN."""
    return {key: float(value).hex() for key, value in values.items() if not key.startswith(PREVIEWS)}


def compare_scores(old: Mapping[str, object], new: Mapping[str, object]) -> list[Line]:
    """For each subset and measure of either evaluation: whether all clips agree, else the means and the largest
    difference. Then a line for each metric of the field, and one for all else that is written there."""
    first, second = _by_measure(old), _by_measure(new)
    lines = [_compare_score(name, first.get(name), second.get(name)) for name in {**first, **second}]
    parts, others = _by_part(old), _by_part(new)
    return lines + [_compare_part(name, parts.get(name, {}), others.get(name, {})) for name in {**parts, **others}]


Score = float | None
Clips = Mapping[str, Sequence[Mapping[str, Score]]]


def _by_measure(evaluation: Mapping[str, object]) -> dict[str, list[Score]]:
    clips = evaluation["clips"]
    assert isinstance(clips, Mapping)
    found: dict[str, list[Score]] = {}
    for subset, scores in clips.items():
        for score in scores:
            for name, value in score.items():
                if name != "clip":
                    found.setdefault(f"{subset}/{name}", []).append(value)
    return found


def _by_part(evaluation: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """All but the clips' scores, by what a line is about, then by path."""
    found: dict[str, dict[str, object]] = {}
    for name, value in evaluation.items():
        if name == "measured" and isinstance(value, Mapping):
            for subset, measurement in value.items():
                for entry in measurement["metrics"]:
                    found[f"{subset}/{entry['metric']}"] = dict(_leaves(entry))
        elif name != "clips":
            found.setdefault(ALL_ELSE, {}).update(_leaves(value, name))
    return found


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    match value:
        case Mapping():
            parts = [(str(key), inner) for key, inner in value.items()]
        case list():
            parts = [(str(index), inner) for index, inner in enumerate(value)]
        case _:
            yield path, value
            return
    for key, inner in parts:
        yield from _leaves(inner, f"{path}/{key}" if path else key)


def _compare_part(name: str, old: Mapping[str, object], new: Mapping[str, object]) -> Line:
    if not old or not new:
        return Line(name, old == new, f"only {'rebuilt' if not old else 'recorded'}")
    differing = [path for path in {**old, **new} if old.get(path, NOWHERE) != new.get(path, NOWHERE)]
    if differing:
        path = differing[0]
        words = f"{path} {old.get(path, NOWHERE)} recorded, {new.get(path, NOWHERE)} rebuilt"
        return Line(name, False, f"{words}; {len(differing)} of {len({**old, **new})} differ")
    value = old.get("value")
    shown = f"{format_value(float(f'{value:.6g}'))}, " if isinstance(value, float) else ""
    return Line(name, True, f"{shown}equal in all {len(old)} entries")


def _compare_score(name: str, old: Sequence[Score] | None, new: Sequence[Score] | None) -> Line:
    if old is None or new is None:
        return Line(name, False, f"only {'rebuilt' if old is None else 'recorded'}")
    if len(old) != len(new):
        return Line(name, False, f"{len(old)} clips recorded, {len(new)} rebuilt")
    differing = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    if not differing:
        return Line(name, True, f"{_mean(old)}, equal in all {len(old)} clips")
    largest = max((abs(b - a) for a, b in differing if a is not None and b is not None), default=math.nan)
    words = f"{_mean(old)} recorded, {_mean(new)} rebuilt; {len(differing)} of {len(old)} clips differ"
    return Line(name, False, f"{words}, by {largest:.2g} at most" if math.isfinite(largest) else words)


def _mean(values: Sequence[Score]) -> str:
    known = [value for value in values if value is not None]
    return format_value(float(f"{math.fsum(known) / len(known):.6g}")) if known else "no value"


def _rendered(run: RunDirectory, rebuilt: RunDirectory, lines: Sequence[Line]) -> str:
    width = max(len(line.name) for line in lines)
    rows = [f"{' ' if line.agrees else '*'} {line.name:<{width}}  {line.words}" for line in lines]
    differing = sum(not line.agrees for line in lines)
    verdict = "the numbers agree" if not differing else f"{differing} of {len(lines)} differ, marked *"
    return "\n".join([*rows, "", f"{run.path.name}: {verdict}", f"rebuilt in {rebuilt.path}"])


if __name__ == "__main__":
    run_main(main)
