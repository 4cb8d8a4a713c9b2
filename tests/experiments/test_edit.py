import math
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from directanimator.errors import UserError
from directanimator.model.spec import ModelSpec
from experiments.edit import Edit, describe, diff, edit, fields, format_value, leaves, legal_values, parse_value
from experiments.spec import ExperimentSpec
from tests.experiments.strategies import BASE, FOLDER_NEEDS, LEGAL, free_edits, specs

FIELDS = fields(ExperimentSpec)
INTEGERS = sorted(path for path, field in FIELDS.items() if field.annotation is int)
NUMBERS = sorted(path for path, field in FIELDS.items() if field.annotation in (int, float))


def refusal(edits: dict[str, Any], spec: ExperimentSpec = BASE) -> str:
    with pytest.raises(UserError) as caught:
        edit(spec, edits)
    return str(caught.value)


def test_every_field_has_a_strategy() -> None:
    assert set(LEGAL) == set(leaves(BASE)) == set(FIELDS)


@given(specs(), specs())
@example(edit(BASE, {"same2x.weight": 0.0}), edit(BASE, {"same2x.weight": -0.0}))
def test_the_difference_is_the_edit_that_bridges_it(a: ExperimentSpec, b: ExperimentSpec) -> None:
    assert edit(a, diff(a, b)) == b


@given(specs())
def test_nothing_differs_from_itself(spec: ExperimentSpec) -> None:
    assert diff(spec, spec) == {}


@given(specs())
def test_writing_its_own_leaves_changes_nothing(spec: ExperimentSpec) -> None:
    assert edit(spec, leaves(spec)) == spec


@given(specs(), free_edits())
def test_an_edit_changes_its_path_and_no_other(spec: ExperimentSpec, change: tuple[str, Any]) -> None:
    path, value = change
    assert leaves(edit(spec, {path: value})) == leaves(spec) | {path: value}


@given(specs())
def test_an_edit_leaves_the_original_as_it_was(spec: ExperimentSpec) -> None:
    before = leaves(spec)
    edit(spec, {"seed": (spec.seed + 1) % 2**32})
    assert leaves(spec) == before


def test_edits_that_are_legal_only_together_are_taken_together() -> None:
    moved = edit(BASE, {"data.source": "folder", "data.folder": "clips", **FOLDER_NEEDS})
    assert (moved.data.source, moved.data.folder) == ("folder", "clips")


@pytest.mark.parametrize("path", NUMBERS)
def test_a_bool_is_not_a_number(path: str) -> None:
    assert refusal({path: True}).startswith(f"{path}=true: must be")


@pytest.mark.parametrize("path", INTEGERS)
def test_a_float_is_not_an_integer(path: str) -> None:
    assert "must be an integer" in refusal({path: 16.0})


@pytest.mark.parametrize("path", ["same2x.weight", "cues.face.margin", "data.fps", "optim.ema_decay"])
def test_an_integer_becomes_a_float_where_a_float_is_due(path: str) -> None:
    assert type(leaves(edit(BASE, {path: 1}))[path]) is float


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, "0.5", None, [0.5]])
def test_what_is_no_finite_number_is_no_weight(value: Any) -> None:
    assert refusal({"same2x.weight": value}).startswith("same2x.weight=")


def test_all_errors_are_told_at_once() -> None:
    message = refusal({"seed": -1, "data.size": 33, "cues.fase.enabled": False, "optim.precision": "fp8"})
    assert all(part in message for part in ("seed=-1", "data.size=33", "cues.fase.enabled", "optim.precision=fp8"))


@pytest.mark.parametrize(
    ("edits", "parts"),
    [
        ({"data.size": 33}, ["data.size=33", ">= 32 and <= 2048", "a multiple of 16"]),
        ({"data.source": "foldr"}, ["data.source=foldr", "one of synthetic, folder"]),
        ({"model.patch_size_t": 0}, ["model.patch_size_t=0", "an integer >= 1 or none"]),
        ({"cues.face.enabled": 1}, ["cues.face.enabled=1", "true or false"]),
        ({"evaluation.subsets": ("sel",)}, ["evaluation.subsets=sel", "self, cross"]),
        ({"data.source": "folder"}, ["data: ", "folder=DIR"]),
        ({"data.source": "folder", "data.folder": "c"}, ["subsets=self,cross", "must be self"]),
    ],
)
def test_a_refusal_names_path_value_and_legal_values(edits: dict[str, Any], parts: list[str]) -> None:
    message = refusal(edits)
    assert all(part in message for part in parts)


@pytest.mark.parametrize(
    ("path", "level", "meant"),
    [
        ("cues.fase.enabled", "cues has pose, face, location, gate", "cues.face.enabled"),
        ("weight", "known are seed, data", "same2x.weight"),
        ("same2x.wieght", "same2x has enabled, weight, depth", "same2x.weight"),
        ("optim.num_layers", "optim has learning_rate", "model.num_layers"),
        ("sede", "known are seed", "seed"),
    ],
)
def test_an_unknown_path_is_answered_with_its_neighbors(path: str, level: str, meant: str) -> None:
    message = refusal({path: 1})
    assert level in message
    assert f"did you mean {meant!r}?" in message


def test_a_path_like_no_other_gets_no_suggestion() -> None:
    assert "did you mean" not in refusal({"optim.qqq": 1})


@pytest.mark.parametrize(("path", "why"), [("cues.face", "is a group"), ("seed.x", "is a value"), ("", "unknown path")])
def test_a_path_to_no_leaf_is_refused(path: str, why: str) -> None:
    assert why in refusal({path: 1})


@given(st.dictionaries(st.text(), st.text(), min_size=1))
def test_every_refusal_is_one_short_line(edits: dict[str, str]) -> None:
    assume(not edits.keys() & set(FIELDS))
    message = refusal(edits)
    assert message.isprintable()
    assert len(message) < 600 * len(edits)


@given(specs(), st.sampled_from(sorted(LEGAL)))
@example(edit(BASE, {"model.base": "none"}), "model.base")
@example(edit(BASE, {"data.source": "folder", "data.folder": "none", **FOLDER_NEEDS}), "data.folder")
@example(edit(BASE, {"data.source": "folder", "data.folder": '"', **FOLDER_NEEDS}), "data.folder")
def test_text_round_trips(spec: ExperimentSpec, path: str) -> None:
    value = leaves(spec)[path]
    parsed = parse_value(format_value(value), FIELDS[path].annotation)
    assert (type(parsed), parsed) == (type(value), value)


@given(specs(), st.sampled_from(sorted(LEGAL)))
def test_text_of_a_value_is_one_line(spec: ExperimentSpec, path: str) -> None:
    assert format_value(leaves(spec)[path]).isprintable()


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("1", "same2x.weight", 1.0),
        ("1e-4", "optim.learning_rate", 1e-4),
        (".5", "same2x.weight", 0.5),
        ("True", "cues.face.enabled", True),
        ("1", "model.base", "1"),
        ("true", "model.base", "true"),
        ("None", "model.patch_size_t", None),
        ("2", "model.patch_size_t", 2),
        ("cross", "evaluation.subsets", ("cross",)),
        ("cross,self", "evaluation.subsets", ("cross", "self")),
        ("", "evaluation.subsets", ()),
        ("1_0", "seed", "1_0"),
        ("nan", "same2x.weight", "nan"),
    ],
)
def test_text_is_read_by_the_type_of_its_field(text: str, path: str, value: Any) -> None:
    parsed = parse_value(text, FIELDS[path].annotation)
    assert (type(parsed), parsed) == (type(value), value)


@given(st.text(), st.sampled_from(sorted(LEGAL)))
@example("1" * 5000, "seed")
@example('"\\ud800"', "model.base")
@example("\u0661", "seed")
def test_any_text_is_taken_or_refused_in_words(text: str, path: str) -> None:
    value = parse_value(text, FIELDS[path].annotation)
    try:
        edited = edit(BASE, {path: value})
    except UserError:
        return
    assert leaves(edited)[path] == value


@given(specs(), specs())
def test_the_record_of_changes_names_old_and_new(a: ExperimentSpec, b: ExperimentSpec) -> None:
    record = describe(a, b, {})
    assert {change.path: change.new for change in record} == diff(a, b)
    assert {change.path: change.old for change in record} == diff(b, a)


def test_a_change_reads_aloud() -> None:
    assert str(Edit("same2x.weight", 0.5, 0.25, "command line")) == "same2x.weight: 0.5 -> 0.25 (command line)"


def test_specs_of_two_kinds_have_no_difference() -> None:
    with pytest.raises(TypeError, match="ModelSpec"):
        diff(BASE, ModelSpec())


@pytest.mark.parametrize("path", sorted(LEGAL))
def test_every_field_states_its_legal_values(path: str) -> None:
    assert legal_values(FIELDS[path])
