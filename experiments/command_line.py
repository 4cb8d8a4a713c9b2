"""From words on the command line to one spec, and back to text that a person can check."""

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from ablations.ablation import Ablation
from ablations.registry import ABLATIONS
from directanimator.command import run_command
from directanimator.errors import UserError, did_you_mean
from experiments.edit import Edit, Leaf, describe, edit, fields, format_value, leaves, parse_value, unknown_path
from experiments.execution import EXECUTION_USAGE
from experiments.presets import DEFAULT_PRESET, PRESETS, Preset
from experiments.spec import ExperimentSpec, data_fingerprint, fingerprint, stage_fingerprint

DEFAULT_ABLATION = "full"
KEYS = ("preset", "ablation")
OPTIONS = {
    "--dry-run": "print the resolved spec and its fingerprints, run nothing",
    "--list": "print the presets and ablations",
    "--fresh": "start over: remove what an earlier call left, its same-ID teacher too, finished or not",
    "--debug": "show the traceback of an error",
    "--help": "print this text",
}
FIELDS = fields(ExperimentSpec)

Named = TypeVar("Named")


@dataclass(frozen=True)
class Request:
    """A command line taken apart; `edits` are values for paths of the spec."""

    words: Mapping[str, str]
    edits: Mapping[str, Leaf]
    options: frozenset[str]


@dataclass(frozen=True)
class Resolved:
    """The spec that a command line asks for, and how it came about."""

    preset: Preset
    ablation: Ablation
    spec: ExperimentSpec
    edits: tuple[Edit, ...]
    options: frozenset[str]


# ---------------------------------------------------------------- words to a request


def parse(
    tokens: Sequence[str],
    keys: Collection[str] = KEYS,
    options: Collection[str] = tuple(OPTIONS),
    also: Collection[str] = (),
) -> Request:
    """The command line taken apart: `key=value` for the `keys` and the spec's paths, `--name` for the `options`.

    `also` are keys that the command has taken out itself: one of them may be what an unknown word means.
    Raises: UserError for an unknown option or key, a token of neither form, or two values for one key."""
    words: dict[str, str] = {}
    edits: dict[str, Leaf] = {}
    for token in tokens:
        if token.startswith("-"):
            _check_option(token, options)
            continue
        key, text = _key_and_text(token, keys, also)
        if key in keys:
            _put(words, key, text)
        else:
            _put(edits, key, parse_value(text, FIELDS[key].annotation))
    return Request(words, edits, frozenset(token for token in tokens if token.startswith("-")))


def _check_option(token: str, options: Collection[str]) -> None:
    if token not in options:
        raise UserError(f"unknown option {token!r}: known are {', '.join(options)}{did_you_mean(token, options)}")


def _key_and_text(token: str, keys: Collection[str], also: Collection[str]) -> tuple[str, str]:
    key, sign, text = token.partition("=")
    if not sign:
        raise UserError(f"{token!r} is neither key=value nor an option{_likely_meant(token, keys)}")
    if key not in keys and key not in FIELDS:
        raise UserError(unknown_path(ExperimentSpec, key, also=(*keys, *also)))
    return key, text


def _likely_meant(value: str, keys: Collection[str]) -> str:
    registries: dict[str, Iterable[str]] = {"preset": PRESETS, "ablation": ABLATIONS}
    known = {name: f"{key}={name}" for key, names in registries.items() if key in keys for name in names}
    known |= {option.strip("-"): option for option in OPTIONS}
    return f"; did you mean {known[value]!r}?" if value in known else ""


def _put(found: dict[str, Named], key: str, value: Named) -> None:
    """Takes the value down; says no to a second one that differs, also in type (true is not 1)."""
    if key in found and (type(found[key]), found[key]) != (type(value), value):
        raise UserError(f"{key} is given twice: {format_value(found[key])} and {format_value(value)}")
    found[key] = value


# ---------------------------------------------------------------- a request to a spec


def resolve(
    tokens: Sequence[str], options: Collection[str] = tuple(OPTIONS), also: Collection[str] = ()
) -> Resolved:
    """The spec asked for: the preset, then the ablation's edits, then the command line's, checked once.

    `also` as in `parse`.
    Raises: UserError for unknown names and options, illegal values, contradictions."""
    request = parse(tokens, options=options, also=also)
    preset = look_up("preset", request.words.get("preset", DEFAULT_PRESET), PRESETS)
    ablation = look_up("ablation", request.words.get("ablation", DEFAULT_ABLATION), ABLATIONS)
    spec = edit(preset.spec, {**ablation.edits, **request.edits})
    _check_ablation_stands(spec, ablation)
    origins = dict.fromkeys(request.edits, "command line") | dict.fromkeys(ablation.edits, "ablation")
    return Resolved(preset, ablation, spec, describe(preset.spec, spec, origins), request.options)


def look_up(kind: str, name: str, registry: Mapping[str, Named]) -> Named:
    """The entry of that name.

    Raises: UserError naming the known ones and the nearest."""
    if name not in registry:
        raise UserError(f"unknown {kind} {name!r}: known are {', '.join(registry)}{did_you_mean(name, registry)}")
    return registry[name]


def _check_ablation_stands(spec: ExperimentSpec, ablation: Ablation) -> None:
    values = leaves(spec)
    for path, wanted in ablation.edits.items():
        if values[path] != wanted:
            given, meant = format_value(values[path]), format_value(wanted)
            raise UserError(f"{path}={given} contradicts ablation {ablation.name}, which sets {path}={meant}")


# ---------------------------------------------------------------- text for people


def render_dry_run(resolved: Resolved) -> str:
    """The resolved spec, one line per value and section per component, changed values marked, then fingerprints."""
    changed = {change.path: change for change in resolved.edits}
    lines = [
        f"preset    {resolved.preset.name}: {resolved.preset.description}",
        f"ablation  {resolved.ablation.name}: {resolved.ablation.question}",
    ]
    section = None
    for path, value in leaves(resolved.spec).items():
        if path.split(".")[0] != section:
            section = path.split(".")[0]
            lines.append("")
        lines.append(f"* {changed[path]}" if path in changed else f"  {path}={format_value(value)}")
    return "\n".join([*lines, "", *_fingerprint_lines(resolved.spec)])


def _fingerprint_lines(spec: ExperimentSpec) -> list[str]:
    return [
        f"fingerprint           {fingerprint(spec)}",
        f"same-ID stage         {stage_fingerprint(spec, 'same_id')}",
        f"cross-ID stage        {stage_fingerprint(spec, 'cross_id')}",
        f"clips and their cues  {data_fingerprint(spec)}",
    ]


def render_list() -> str:
    """Presets and ablations, one line each."""
    presets = {name: preset.description for name, preset in PRESETS.items()}
    ablations = {name: ablation.question for name, ablation in ABLATIONS.items()}
    return "\n".join(["presets", *_columns(presets), "", "ablations", *_columns(ablations)])


def render_usage() -> str:
    """How to call the command, and what to try first."""
    return "\n".join(
        [
            "usage: python -m experiments.run [preset=NAME] [ablation=NAME] [PATH=VALUE ...] [OPTION ...]",
            "       [engine=ray [processes_per_run=1] [cpus_per_process=1] [gpus_per_process=N]]",
            f"       {EXECUTION_USAGE}",
            "       python -m experiments.run sync=RUN",
            "",
            "try",
            *_columns(
                {
                    "python -m experiments.run --list": "what there is to run",
                    "python -m experiments.run --dry-run": "every value and its path",
                    "python -m experiments.run preset=smoke": "the whole pipeline in seconds",
                    "python -m experiments.run ablation=no_face_cue": "one ablation on a laptop",
                    "python -m experiments.run same2x.weight=0.25 seed=1": "your own variant",
                }
            ),
            "",
            "options",
            *_columns(OPTIONS),
        ]
    )


def _columns(rows: Mapping[str, str]) -> list[str]:
    width = max(map(len, rows))
    return [f"  {left:<{width}}  {right}" for left, right in rows.items()]


# ---------------------------------------------------------------- a command as a process


def run_main(main: Callable[[list[str]], int]) -> NoReturn:
    """Runs a command on the process's arguments and exits with its status.

    Raises: SystemExit, always."""
    sys.exit(run_command(main))
