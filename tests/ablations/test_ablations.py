import importlib
import pkgutil

import pytest

import ablations
from ablations.ablation import Ablation
from ablations.registry import ABLATIONS
from experiments.edit import diff, edit
from experiments.presets import PRESETS

NAMES = sorted(ABLATIONS)
VARIANTS = sorted(ABLATIONS.keys() - {"full"})
METRICS = {"psnr_foreground", "motion", "identity", "mask_iou", "psnr_face"}


def declared() -> list[Ablation]:
    modules = [
        importlib.import_module(f"ablations.{module.name}") for module in pkgutil.iter_modules(ablations.__path__)
    ]
    found = {id(value): value for module in modules for value in vars(module).values() if isinstance(value, Ablation)}
    return list(found.values())


def test_every_ablation_is_registered_under_its_own_name() -> None:
    assert sorted(ablation.name for ablation in declared()) == NAMES
    assert all(ABLATIONS[ablation.name] is ablation for ablation in declared())


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("name", NAMES)
def test_an_ablation_changes_exactly_what_it_declares(name: str, preset: str) -> None:
    spec = PRESETS[preset].spec
    assert diff(spec, edit(spec, ABLATIONS[name].edits)) == ABLATIONS[name].edits


def test_no_two_ablations_are_the_same_edit() -> None:
    assert len({tuple(sorted(ABLATIONS[name].edits.items())) for name in NAMES}) == len(NAMES)


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
    full = ABLATIONS["full"].source
    assert full is not None
    for source in (ABLATIONS[name].source for name in VARIANTS):
        assert source is None or source.values["fid"] > full.values["fid"]
        assert source is None or source.values["fis"] < full.values["fis"]


def test_ablations_are_hashable_values() -> None:
    assert len(set(ABLATIONS.values())) == len(ABLATIONS)
