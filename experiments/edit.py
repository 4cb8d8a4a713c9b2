"""The one way to change a spec: a mapping {path: value}, applied together, checked once. Knows no one spec."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from directanimator.errors import UserError
from directanimator.frozen import FrozenSpec

Leaf: TypeAlias = bool | int | float | str | tuple[Any, ...] | None
Spec = TypeVar("Spec", bound=FrozenSpec)

SHOWN_CHARACTERS = 80
"""Longest value that a message shows whole."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WORDS: dict[str, Leaf] = {"none": None, "null": None, "true": True, "false": False}
_BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


@dataclass(frozen=True)
class Edit:
    """One value that changed, and who asked for it."""

    path: str
    old: Leaf
    new: Leaf
    origin: str

    def __str__(self) -> str:
        return f"{self.path}: {format_value(self.old)} -> {format_value(self.new)} ({self.origin})"


# ---------------------------------------------------------------- reading


def leaves(spec: FrozenSpec) -> dict[str, Leaf]:
    """Every value of the spec by its dotted path, in the order of declaration."""
    return dict(_walk(spec, ""))


def _walk(spec: FrozenSpec, prefix: str) -> Iterator[tuple[str, Leaf]]:
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if isinstance(value, FrozenSpec):
            yield from _walk(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def fields(spec_type: type[FrozenSpec]) -> dict[str, FieldInfo]:
    """Declaration of every leaf by its dotted path."""
    found: dict[str, FieldInfo] = {}
    for name, field in spec_type.model_fields.items():
        group = _group(field)
        if group is None:
            found[name] = field
        else:
            found |= {f"{name}.{path}": leaf for path, leaf in fields(group).items()}
    return found


def _group(field: FieldInfo) -> type[FrozenSpec] | None:
    """The spec that the field holds, or None if it holds a value."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, FrozenSpec) else None


def diff(a: Spec, b: Spec) -> dict[str, Leaf]:
    """The edits that turn `a` into `b`: {path: value of b}, empty when they are equal.

    Raises: TypeError if the specs are of two kinds."""
    if type(a) is not type(b):
        raise TypeError(f"cannot compare {type(a).__name__} with {type(b).__name__}")
    old = leaves(a)
    return {path: value for path, value in leaves(b).items() if value != old[path]}


def describe(a: Spec, b: Spec, origins: Mapping[str, str]) -> tuple[Edit, ...]:
    """What changed from `a` to `b`, in the order of declaration; `origins` says who asked, by path."""
    old = leaves(a)
    return tuple(Edit(path, old[path], new, origins.get(path, "")) for path, new in diff(a, b).items())


# ---------------------------------------------------------------- changing


def edit(spec: Spec, edits: Mapping[str, object]) -> Spec:
    """A copy of `spec` with all `edits` in force, checked once as a whole.

    Raises: UserError, in one line, naming every unknown path, wrong value and contradiction."""
    values: dict[str, object] = dict(leaves(spec))
    unknown = [path for path in edits if path not in values]
    problems = [unknown_path(type(spec), path) for path in unknown]
    values |= {path: value for path, value in edits.items() if path not in unknown}
    try:
        edited = type(spec).model_validate(_nested(values))
    except ValidationError as error:
        problems += _explain(error, fields(type(spec)), values)
    if problems:
        raise UserError(" | ".join(problems))
    return edited


def _nested(values: Mapping[str, object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *groups, name = path.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = value
    return tree


def _explain(error: ValidationError, legal: Mapping[str, FieldInfo], values: Mapping[str, object]) -> list[str]:
    """One sentence per faulty path; a fault of several fields is named by their group."""
    sentences: dict[str, None] = {}
    for fault in error.errors(include_url=False):
        path = _leaf_of(fault["loc"], legal)
        reason = str(fault.get("ctx", {}).get("error", ""))
        if path is None:
            group = ".".join(map(str, fault["loc"]))
            sentences[f"{group}: {reason}" if group else reason] = None
        else:
            wanted = reason or f"must be {legal_values(legal[path])}"
            sentences[f"{path}={_shortened(values[path])}: {wanted}"] = None
    return list(sentences)


def _leaf_of(location: tuple[int | str, ...], legal: Iterable[str]) -> str | None:
    prefixes = (".".join(map(str, location[:end])) for end in range(1, len(location) + 1))
    return next((prefix for prefix in prefixes if prefix in legal), None)


def _shortened(value: object) -> str:
    text = format_value(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


# ---------------------------------------------------------------- unknown paths


def unknown_path(spec_type: type[FrozenSpec], path: str, also: Iterable[str] = ()) -> str:
    """A sentence: what is wrong with the path, the legal fields at that level, the nearest legal path.

    `also` names what is legal beside the spec's own paths."""
    level, here = "", spec_type
    for name in path.split("."):
        field = here.model_fields.get(name)
        if field is None:
            names = ", ".join([*here.model_fields, *(also if not level else ())])
            where = f"{level} has" if level else "known are"
            return f"unknown path {_shortened(path)}: {where} {names}{_suggestion(spec_type, path, also)}"
        level = f"{level}.{name}" if level else name
        group = _group(field)
        if group is None:
            return f"unknown path {_shortened(path)}: {level} is a value, not a group"
        here = group
    return f"{level} is a group: name one of its fields, {', '.join(here.model_fields)}"


def _suggestion(spec_type: type[FrozenSpec], path: str, also: Iterable[str]) -> str:
    nearest = _nearest(path, [*fields(spec_type), *also])
    return f"; did you mean {nearest!r}?" if nearest else ""


def _nearest(path: str, legal: list[str]) -> str | None:
    """The legal path that ends in the same name, else the one spelled most alike in its group, else anywhere."""
    group, _, name = path.rpartition(".")
    same_name = [known for known in legal if known.rpartition(".")[2] == name]
    if same_name:
        return difflib.get_close_matches(path, same_name, n=1, cutoff=0.0)[0]
    siblings = [known.rpartition(".")[2] for known in legal if group and known.rpartition(".")[0] == group]
    if siblings:
        alike = difflib.get_close_matches(name, siblings, n=1, cutoff=0.5)
        return f"{group}.{alike[0]}" if alike else None
    alike = difflib.get_close_matches(path, legal, n=1, cutoff=0.6)
    return alike[0] if alike else None


# ---------------------------------------------------------------- legal values in words


def legal_values(field: FieldInfo) -> str:
    """The legal values of a field in words, such as `an integer >= 1 or none`."""
    return _words(field.annotation, field.metadata)


def _words(annotation: Any, metadata: Iterable[Any]) -> str:
    plain, bounds = _unwrapped(annotation)
    limits = _limits([*metadata, *bounds])
    if _is_union(plain):
        return " or ".join(_words(option, ()) for option in get_args(plain))
    if get_origin(plain) is Literal:
        return "one of " + ", ".join(format_value(option) for option in get_args(plain))
    if get_origin(plain) is tuple:
        first, *others = get_args(plain)
        count = "" if others == [Ellipsis] else f" of {1 + len(others)}"
        return f"a comma-separated list{count}{limits}, each {_words(first, ())}"
    names = {bool: "true or false", int: "an integer", float: "a number", str: "text", NoneType: "none"}
    return names[plain] + limits


def _unwrapped(annotation: Any) -> tuple[Any, list[Any]]:
    """The type under `Annotated`, and the constraints on it."""
    if get_origin(annotation) is not Annotated:
        return annotation, []
    plain, *extras = get_args(annotation)
    return plain, [bound for extra in extras for bound in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType)


def _limits(metadata: Iterable[Any]) -> str:
    bounds = list(metadata)
    limits = [
        f"{sign} {getattr(bound, key)}" for key, sign in _BOUNDS.items() for bound in bounds if hasattr(bound, key)
    ]
    text = f" {' and '.join(limits)}" if limits else ""
    factors = [f", a multiple of {bound.multiple_of}" for bound in bounds if hasattr(bound, "multiple_of")]
    lengths = [f" of {bound.min_length} or more" for bound in bounds if hasattr(bound, "min_length")]
    return text + "".join(lengths + factors)


# ---------------------------------------------------------------- values as text


def format_value(value: object) -> str:
    """The value as one line of text that `parse_value` reads back."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case float():
            return float.__repr__(value)
        case tuple():
            return ",".join(format_value(item) for item in value)
        case str():
            return json.dumps(value) if _needs_quotes(value) else value
        case _:
            return repr(value)


def _needs_quotes(text: str) -> bool:
    risky = not text or text[0] == '"' or "," in text or text.lower() in _WORDS
    return risky or not text.isprintable() or text != text.strip()


def parse_value(text: str, annotation: Any) -> Leaf:
    """The value that the text spells for a field of this type; whether it is legal is for the spec to say."""
    options = list(kinds(annotation))
    if NoneType in options and text.lower() in ("none", "null"):
        return None
    items = [get_args(kind)[0] for kind in options if get_origin(kind) is tuple]
    if items:
        return tuple(parse_value(part, items[0]) for part in text.split(",")) if text else ()
    if any(kind is str or get_origin(kind) is Literal for kind in options):
        return _unquoted(text)
    return _number_or_word(text, as_float=float in options)


def kinds(annotation: Any) -> Iterator[Any]:
    """The types that a field of this annotation may hold, without their limits."""
    plain, _ = _unwrapped(annotation)
    if _is_union(plain):
        for option in get_args(plain):
            yield from kinds(option)
    else:
        yield plain


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        return str(json.loads(text))
    except json.JSONDecodeError:
        return text


def _number_or_word(text: str, as_float: bool) -> Leaf:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text) and not as_float:
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text
