import pytest
import torch

from directanimator.data.spec import DataSpec
from directanimator.model.cue_fusion import CUE_PARAMETERS
from directanimator.model.embedded import build_transformer
from experiments import presets
from experiments.edit import edit, leaves
from experiments.presets import DEFAULT_PRESET, PRESETS, Preset
from experiments.spec import ExperimentSpec, fingerprint

PAPER = PRESETS["paper"].spec


def test_every_preset_is_registered_under_its_name() -> None:
    declared = {value.name: value for value in vars(presets).values() if isinstance(value, Preset)}
    assert declared == PRESETS


def test_presets_are_different_experiments() -> None:
    assert len({fingerprint(preset.spec) for preset in PRESETS.values()}) == len(PRESETS)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_description_is_one_line_with_its_cost(name: str) -> None:
    description = PRESETS[name].description
    assert description.isprintable()
    assert any(word in description for word in ("seconds", "minutes", "days"))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_legal_value_by_value(name: str) -> None:
    spec = PRESETS[name].spec
    assert edit(spec, leaves(spec)) == spec


def test_the_default_preset_is_the_default_spec() -> None:
    assert PRESETS[DEFAULT_PRESET].spec == ExperimentSpec()


def test_the_paper_preset_has_the_width_and_frames_of_the_backbone() -> None:
    assert (PAPER.model.width, PAPER.data.num_frames) == (3072, 49)


def test_the_paper_preset_trains_as_published() -> None:
    assert (PAPER.same_id.steps, PAPER.cross_id.steps) == (10_000, 30_000)
    assert (PAPER.optim.learning_rate, PAPER.same2x.weight, PAPER.same2x.block(42)) == (2e-5, 0.5, 10)


def test_the_smoke_preset_is_the_smallest_of_all() -> None:
    smoke = PRESETS["smoke"].spec
    cost = {name: preset.spec.same_id.steps * preset.spec.model.width for name, preset in PRESETS.items()}
    assert min(cost, key=lambda name: cost[name]) == "smoke"
    assert smoke.data.num_train_clips < DataSpec().num_train_clips


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_builds_without_memory(name: str) -> None:
    with torch.device("meta"):
        model = build_transformer(PRESETS[name].spec.model)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_the_paper_preset_is_cogvideox_1_5_and_its_cues() -> None:
    with torch.device("meta"):
        model = build_transformer(PRESETS["paper"].spec.model)
    cues = sum(p.numel() for n, p in model.named_parameters() if any(part in n for part in CUE_PARAMETERS))
    assert sum(p.numel() for p in model.parameters()) - cues == 5_571_594_880  # counted in the published configuration
