import importlib
import itertools
import pkgutil

import pytest

import ablations
from ablations.ablation import Ablation
from ablations.registry import ABLATIONS, TABLES
from ablations.same2x import ALIGNMENT_DEPTHS
from directanimator.errors import UserError
from experiments.edit import diff, edit, leaves
from experiments.presets import PRESETS
from experiments.spec import fingerprint

NAMES = sorted(ABLATIONS)
VARIANTS = sorted(ABLATIONS.keys() - {"full"})
METRICS = {"psnr_foreground", "motion", "identity", "mask_iou", "psnr_face"}


def declared() -> list[Ablation]:
    modules = [
        importlib.import_module(f"ablations.{module.name}") for module in pkgutil.iter_modules(ablations.__path__)
    ]
    values = [value for module in modules for value in vars(module).values()]
    alone = [value for value in values if isinstance(value, Ablation)]
    several = [one for value in values if isinstance(value, tuple) for one in value if isinstance(one, Ablation)]
    return list({id(ablation): ablation for ablation in [*alone, *several]}.values())


def fits(ablation: Ablation, preset: str) -> bool:
    return PRESETS[preset].spec.data.source == "synthetic" or not ablation.needs_synthetic


def test_every_ablation_is_registered_under_its_own_name() -> None:
    assert sorted(ablation.name for ablation in declared()) == NAMES
    assert all(ABLATIONS[ablation.name] is ablation for ablation in declared())


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("name", NAMES)
def test_an_ablation_changes_exactly_what_it_declares(name: str, preset: str) -> None:
    spec, ablation = PRESETS[preset].spec, ABLATIONS[name]
    if fits(ablation, preset):
        assert diff(spec, edit(spec, ablation.edits)) == ablation.edits
        return
    with pytest.raises(UserError, match=r"^[^\n]*synthetic[^\n]*$"):
        edit(spec, ablation.edits)


def test_no_two_ablations_are_the_same_edit() -> None:
    assert len({tuple(sorted(ABLATIONS[name].edits.items())) for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize(("preset", "depth", "blocks"), [("paper", 0.24, 10), ("wan", 0.24, 7), ("cpu", 0.33, 2)])
def test_the_full_methods_depth_is_its_presets(preset: str, depth: float, blocks: int) -> None:
    spec = PRESETS[preset].spec
    assert (spec.same2x.depth, spec.same2x.block(spec.model.num_layers)) == (depth, blocks)


def test_depths_are_asked_beside_the_full_methods_and_the_least_is_nearest_to_the_papers_on_a_laptop() -> None:
    spec, published = PRESETS["cpu"].spec, 10 / 42
    assert all(one.question.endswith("worse than at the full method's depth?") for one in ALIGNMENT_DEPTHS)
    blocks = spec.model.num_layers
    least = edit(spec, ALIGNMENT_DEPTHS[0].edits).same2x.block(blocks)
    assert least == min(range(1, blocks + 1), key=lambda block: abs(block / blocks - published))


@pytest.mark.parametrize("name", NAMES)
def test_an_ablation_asks_one_question(name: str) -> None:
    question = ABLATIONS[name].question
    assert question.endswith("?")
    assert question.count("?") == 1


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_expects_an_effect_on_a_known_metric(name: str) -> None:
    expects = ABLATIONS[name].expects
    assert expects is not None
    subset, metric = expects.metric.split("/")
    assert subset in {"self", "cross"}
    assert metric in METRICS
    assert expects.at_least > 0


def test_the_full_method_is_compared_with_nothing() -> None:
    assert (ABLATIONS["full"].edits, ABLATIONS["full"].expects) == ({}, None)


def test_published_rows_are_worse_than_the_full_method() -> None:
    """All but the one that is the paper's full method, where ours has better data."""
    full = ABLATIONS["full"].source
    assert full is not None
    assert ABLATIONS["few_clean_pairs"].source.values["fid"] == full.values["fid"]
    for source in (ABLATIONS[name].source for name in VARIANTS if name != "few_clean_pairs"):
        assert source is None or source.values["fid"] > full.values["fid"]
        assert source is None or "fis" not in source.values or source.values["fis"] < full.values["fis"]


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_no_two_ablations_are_the_same_experiment(preset: str) -> None:
    specs = [edit(PRESETS[preset].spec, ABLATIONS[name].edits) for name in NAMES if fits(ABLATIONS[name], preset)]
    assert len({fingerprint(spec) for spec in specs}) == len(specs)


def test_all_eight_subsets_of_the_cues_are_there() -> None:
    specs = [edit(PRESETS["cpu"].spec, ABLATIONS[name].edits) for name in ("full", *TABLES["cue_subsets"].variants)]
    shown = {tuple(getattr(spec.cues, cue).enabled for cue in ("pose", "face", "location")) for spec in specs}
    assert shown == set(itertools.product([False, True], repeat=3))


@pytest.mark.parametrize(("path", "values"), [("same2x.weight", {0, 0.1, 0.25, 0.5, 1, 2})])
def test_a_table_covers_its_range(path: str, values: set[float]) -> None:
    specs = [edit(PRESETS["cpu"].spec, ABLATIONS[name].edits) for name in ("full", *TABLES["same2x"].variants)]
    assert {leaves(spec)[path] for spec in specs} == values


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_names_registered_variants_once_and_is_compared_with_the_full_method(name: str) -> None:
    table = TABLES[name]
    assert table.name == name
    assert set(table.variants) <= set(VARIANTS)
    assert len(set(table.variants)) == len(table.variants) > 0
    assert table.question.endswith("?")
    assert {variant for pair in table.convergence for variant in pair} <= {"full", *table.variants}


def test_the_table_of_all_holds_every_ablation() -> None:
    assert sorted(TABLES["all"].variants) == VARIANTS
    assert {variant for name, table in TABLES.items() if name != "all" for variant in table.variants} == set(VARIANTS)


def test_ablations_are_hashable_values() -> None:
    assert len(set(ABLATIONS.values())) == len(ABLATIONS)
