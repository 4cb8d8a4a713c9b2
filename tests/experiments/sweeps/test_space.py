"""A search space is data over paths of the spec: what passes is legal in every corner, what does not is named."""

import itertools
import json
import math
from pathlib import Path
from typing import Any, get_origin

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from directanimator.errors import UserError
from experiments.edit import edit, fields, kinds, leaves
from experiments.presets import PRESETS
from experiments.spec import ExperimentSpec
from experiments.sweeps.registry import SWEEPS, find_sweep
from experiments.sweeps.space import Choice, Limit, Objective, Range, Sweep, checked, legal_metrics, study_name
from tests.experiments.strategies import BASE, COUPLED, FREE, LEGAL, free_edits

FIELDS = fields(ExperimentSpec)
GOAL = (Objective(metric="cross/motion", direction="maximize"),)
SIMPLE_TYPES = (bool, int, float, str)


def sweep_over(space: dict[str, Any], **changes: Any) -> Sweep:
    return Sweep(**{"question": "?", "space": space, "objectives": GOAL} | changes)


def refusal(sweep: Sweep, spec: ExperimentSpec = BASE) -> str:
    with pytest.raises(UserError) as caught:
        checked(sweep, spec)
    assert str(caught.value).isprintable()
    return str(caught.value)


def is_number(path: str) -> bool:
    return list(kinds(FIELDS[path].annotation)) in ([int], [float])


NUMBERS = [path for path in FREE if is_number(path) and path != "seed"]
SIMPLE = [path for path in FREE if path != "seed" and get_origin(FIELDS[path].annotation) is not tuple]


@st.composite
def ranges(draw: st.DrawFn, path: str) -> Range:
    low, high = sorted([draw(LEGAL[path]), draw(LEGAL[path])])
    assume(low < high)
    return Range(low=low, high=high, log=draw(st.booleans()) if low > 0 else False)


@st.composite
def choices(draw: st.DrawFn, path: str) -> Choice:
    values = draw(st.lists(LEGAL[path], min_size=2, max_size=4, unique_by=lambda v: (v == 0, v)))
    assume(all(value is None or isinstance(value, SIMPLE_TYPES) for value in values))
    return Choice(values=tuple(values))


@st.composite
def legal_sweeps(draw: st.DrawFn) -> Sweep:
    paths = draw(st.lists(st.sampled_from(SIMPLE), min_size=1, max_size=3, unique=True))
    space = {path: draw(ranges(path) if path in NUMBERS and draw(st.booleans()) else choices(path)) for path in paths}
    return sweep_over(space)


@given(legal_sweeps())
def test_a_space_of_legal_values_passes_as_it_is(sweep: Sweep) -> None:
    assert checked(sweep, BASE) == sweep


@given(legal_sweeps())
def test_a_sweep_written_as_json_reads_back_equal(sweep: Sweep) -> None:
    assert Sweep.model_validate_json(sweep.model_dump_json()) == sweep


@given(st.sampled_from(NUMBERS), st.floats(1e-3, 1e9), st.data())
def test_an_end_outside_the_legal_range_is_refused_with_its_path(path: str, beyond: float, data: st.DataObject) -> None:
    inside = data.draw(LEGAL[path])
    for outside in (-beyond, *(top + beyond for top in _tops(path))):
        if list(kinds(FIELDS[path].annotation)) == [int]:
            outside = math.floor(outside) if outside < 0 else math.ceil(outside)
        low, high = sorted([inside, outside])
        assume(low < high)
        assert f"{path}=" in refusal(sweep_over({path: Range(low=low, high=high)}))


def _tops(path: str) -> list[float]:
    """The highest legal value, if there is one."""
    return [getattr(bound, name) for bound in FIELDS[path].metadata for name in ("le", "lt") if hasattr(bound, name)]


@given(free_edits().filter(lambda change: change[0] in NUMBERS))
def test_a_range_that_holds_one_value_or_none_is_refused(change: tuple[str, Any]) -> None:
    path, value = change
    assume(value + 1 > value)
    assert f"{path}: empty" in refusal(sweep_over({path: Range(low=value + 1, high=value)}))
    assert f"{path}: one value" in refusal(sweep_over({path: Range(low=value, high=value)}))
    assert f"{path}: one value" in refusal(sweep_over({path: Choice(values=(value,))}))
    assert f"{path}: one value" in refusal(sweep_over({path: Choice(values=(value, value))}))


@pytest.mark.parametrize("name", sorted(SWEEPS))
@pytest.mark.parametrize("preset", ["smoke", "cpu"])
def test_every_named_sweep_is_legal_in_every_preset_that_runs_here(name: str, preset: str) -> None:
    sweep = checked(SWEEPS[name], PRESETS[preset].spec)
    for corner in itertools.product(*(_ends(domain) for domain in sweep.space.values())):
        edit(PRESETS[preset].spec, dict(zip(sweep.space, corner, strict=True)))


def _ends(domain: Range | Choice) -> tuple[Any, ...]:
    return domain.values if isinstance(domain, Choice) else (domain.low, domain.high)


@given(st.text())
@example("same2x.wieght")
def test_an_unknown_path_is_refused(path: str) -> None:
    assume(path not in FIELDS)
    assert "unknown path" in refusal(sweep_over({path: Range(low=0, high=1)})) or "is a group" in refusal(
        sweep_over({path: Range(low=0, high=1)})
    )


SLIPS: list[tuple[Sweep, str]] = [
    (sweep_over({"same2x.wieght": Range(low=0, high=1)}), "did you mean 'same2x.weight'?"),
    (sweep_over({}), "nothing to search"),
    (sweep_over({"same2x.weight": Choice(values=())}), "same2x.weight: empty"),
    (sweep_over({"same2x.weight": Range(low=0, high=1, log=True)}), "log=true needs low > 0"),
    (sweep_over({"same2x.weight": Range(low=0, high=1, step=0.3)}), "step=0.3 does not divide"),
    (sweep_over({"same2x.weight": Range(low=0, high=1, step=1e-320)}), "step=1e-320 does not divide"),
    (sweep_over({"same2x.weight": Range(low=0, high=1, step=-0.5)}), "step=-0.5 must be > 0"),
    (sweep_over({"same2x.weight": Range(low=0.1, high=1, step=0.1, log=True)}), "log=true and step"),
    (sweep_over({"same2x.enabled": Range(low=0, high=1)}), "same2x.enabled: a range needs a number"),
    (sweep_over({"cross_id.init": Range(low=0, high=1)}), "cross_id.init: a range needs a number"),
    (sweep_over({"cues.location.soften_cells": Range(low=1.5, high=2)}), "cues.location.soften_cells: whole numbers"),
    (
        sweep_over({"cues.location.soften_cells": Range(low=1, high=65)}),
        "cues.location.soften_cells=65: must be <= data.size=64",
    ),
    (sweep_over({"cues.location.soften_cells": Range(low=1, high="data.sise")}), "did you mean 'data.size'?"),
    (sweep_over({"cues.location.soften_cells": Range(low=1, high="model.codec")}), "model.codec=embedded is no number"),
    (
        sweep_over(
            {"cues.location.soften_cells": Range(low=1, high="data.size"), "data.size": Range(low=32, high=64, step=16)}
        ),
        "data.size is searched itself",
    ),
    (sweep_over({"cross_id.init": Choice(values=("teacher", "bass"))}), "cross_id.init=bass: must be one of"),
    (sweep_over({"seed": Range(low=0, high=9)}), "seed: seeds are paired, not searched; use seeds="),
    (sweep_over({"same2x.weight": Range(low=0, high=1)}, objectives=()), "no objective"),
    (
        sweep_over(
            {"same2x.weight": Range(low=0, high=1)}, objectives=(Objective(metric="cros/motion", direction="maximize"),)
        ),
        "did you mean 'cross/motion'?",
    ),
    (
        sweep_over({"same2x.weight": Range(low=0, high=1)}, constraints=(Limit(metric="identity", at_least=0.5),)),
        "unknown metric 'identity'",
    ),
    (
        sweep_over({"same2x.weight": Range(low=0, high=1)}, constraints=(Limit(metric="cross/motion"),)),
        "cross/motion: a constraint needs at_least or at_most",
    ),
    (
        sweep_over(
            {"same2x.weight": Range(low=0, high=1)},
            constraints=(Limit(metric="cross/motion", at_least=0.9, at_most=0.1),),
        ),
        "cross/motion: no value is at_least=0.9 and at_most=0.1",
    ),
    (sweep_over({"same2x.weight": Range(low=0, high=1)}, objectives=GOAL * 2), "cross/motion is named twice"),
    (sweep_over({"same2x.weight": Range(low=0, high=1)}, pruner="wilcoxon", seeds=4), "seeds=4: must be >= 5"),
    (sweep_over({"same2x.weight": Range(low=0, high=1)}, pruner="hyperband", seeds=2), "seeds=2: must be 1"),
    (
        sweep_over(
            {"same2x.weight": Range(low=0, high=1)},
            pruner="hyperband",
            objectives=(*GOAL, Objective(metric="seconds", direction="minimize")),
        ),
        "needs a single objective",
    ),
    (
        sweep_over({"denoising.noise_bias": Range(low=1, high=2)}, pruner="hyperband"),
        "denoising.noise_bias changes what the loss measures",
    ),
    (sweep_over({"cross_id.steps": Range(low=1, high=2)}, pruner="hyperband"), "changes what the loss measures"),
]


@pytest.mark.parametrize(("sweep", "said"), SLIPS, ids=[said for _, said in SLIPS])
def test_a_sweep_that_cannot_be_searched_is_refused(sweep: Sweep, said: str) -> None:
    assert said in refusal(sweep)


def test_a_contradiction_of_two_searched_fields_is_found_in_its_corner() -> None:
    space = {"cues.location.soften_cells": Range(low=1, high=64), "data.size": Range(low=32, high=64, step=16)}
    assert "cues.location.soften_cells=64: must be <= data.size=32" in refusal(sweep_over(space))


def test_a_bound_may_be_another_value_of_the_spec() -> None:
    sweep = checked(sweep_over({"cues.location.soften_cells": Range(low=1, high="data.size")}), BASE)
    assert sweep.space["cues.location.soften_cells"] == Range(low=1, high=64)


def test_a_metric_of_a_subset_that_is_not_evaluated_is_refused() -> None:
    spec = edit(BASE, {"evaluation.subsets": ("self",)})
    assert "unknown metric 'cross/motion'" in refusal(sweep_over({"same2x.weight": Range(low=0, high=1)}), spec)
    assert not any(name.startswith("cross/") for name in legal_metrics(spec))


@pytest.mark.parametrize("metric", ["cross/fid_mobilenetv2", "cross/lpips_mobilenetv2", "self/l1"])
def test_a_metric_of_the_field_may_be_searched_for_where_its_network_is_asked(metric: str) -> None:
    goal = (Objective(metric=metric, direction="minimize"),)
    sweep = sweep_over({"same2x.weight": Range(low=0, high=1)}, objectives=goal)
    asked = edit(BASE, {"evaluation.networks": ("mobilenet_v2",)})
    assert checked(sweep, asked).objectives == goal
    needs_network = metric != "self/l1"
    if needs_network:
        assert f"unknown metric '{metric}'" in refusal(sweep)
    else:
        assert checked(sweep, BASE) == sweep


@given(free_edits(), legal_sweeps())
def test_any_other_spec_or_space_is_another_study(change: tuple[str, Any], sweep: Sweep) -> None:
    path, value = change
    base = checked(SWEEPS["same2x"], BASE)
    name = study_name("a", base, BASE)
    assert name == study_name("a", base, edit(BASE, {}))
    assert (study_name("a", base, edit(BASE, {path: value})) == name) == (value == leaves(BASE)[path])
    assert study_name("a", sweep, BASE) != name
    assert study_name("b", base, BASE) != name


def test_a_sweep_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(SWEEPS["same2x"].model_dump_json())
    assert find_sweep(str(file)) == ("mine", SWEEPS["same2x"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "should be an object"),
        (json.dumps({"question": "?", "space": {}, "objectives": [], "spaec": 1}), "spaec"),
        (
            json.dumps({"question": "?", "space": {"seed": {"low": 1}}, "objectives": []}),
            "space.seed",
        ),
    ],
)
def test_a_file_that_holds_no_sweep_is_refused_in_one_line(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "mine.json"
    file.write_text(content)
    with pytest.raises(UserError) as caught:
        find_sweep(str(file))
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_unknown_sweep_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'same2x'"):
        find_sweep("same2")
    with pytest.raises(UserError, match="cannot be read"):
        find_sweep(str(tmp_path / "none.json"))


def test_coupled_fields_are_known_to_these_tests() -> None:
    assert set(LEGAL) - COUPLED >= {"same2x.weight", "optim.learning_rate"}
