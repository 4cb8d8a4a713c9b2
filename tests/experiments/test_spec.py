import re
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from directanimator.errors import UserError
from directanimator.frozen import FrozenSpec
from directanimator.model.spec import EMBEDDED_WEIGHTS
from experiments import spec as spec_module
from experiments.edit import edit, leaves
from experiments.spec import (
    CODEC_CHANNELS,
    EvaluationSpec,
    ExperimentSpec,
    data_fingerprint,
    fingerprint,
    stage_fingerprint,
    weights_fingerprint,
)
from tests.experiments.strategies import BASE, LEGAL, SHARES, free_edits, specs

LATER_ONLY = sorted(
    path
    for path in LEGAL
    if path.startswith(("cross_id.", "same2x.", "sampling.", "evaluation.")) and path != "sampling.snr_shift_scale"
)


SAMPLED_ONLY = [path for path in LATER_ONLY if path.startswith(("sampling.", "evaluation."))]


class Forward(FrozenSpec):
    a: float
    b: int


class Backward(FrozenSpec):
    b: int
    a: float


def names_of_results(spec: ExperimentSpec) -> list[str]:
    """What names the weights of either stage, and the clips."""
    stages = [stage_fingerprint(spec, "same_id"), stage_fingerprint(spec, "cross_id"), weights_fingerprint(spec)]
    return [*stages, data_fingerprint(spec)]


def changed(before: list[str], after: list[str]) -> list[bool]:
    return [one != other for one, other in zip(before, after, strict=True)]


def test_the_embedded_codec_suits_the_default_model() -> None:
    assert CODEC_CHANNELS["embedded"] == BASE.model.latent_channels


@given(specs())
def test_a_fingerprint_is_twelve_hex_digits(spec: ExperimentSpec) -> None:
    assert re.fullmatch("[0-9a-f]{12}", fingerprint(spec))


@given(specs(), specs())
@example(edit(BASE, {"optim.weight_decay": 0.0}), edit(BASE, {"optim.weight_decay": -0.0}))
@example(edit(BASE, {"same2x.weight": 1}), edit(BASE, {"same2x.weight": 1.0}))
@example(edit(BASE, {"optim.warmup_steps": 0}), edit(BASE, {"optim.warmup_steps": 1}))
@example(BASE, edit(BASE, {"evaluation.subsets": ("cross", "self")}))
def test_fingerprints_are_equal_when_specs_are(a: ExperimentSpec, b: ExperimentSpec) -> None:
    assert (fingerprint(a) == fingerprint(b)) == (a == b)


@given(specs(), free_edits())
def test_any_single_edit_changes_the_fingerprint(spec: ExperimentSpec, change: tuple[str, Any]) -> None:
    path, value = change
    assume(leaves(spec)[path] != value)
    assert fingerprint(edit(spec, {path: value})) != fingerprint(spec)


@given(st.floats(0, 1), st.integers())
def test_the_order_of_fields_does_not_change_the_fingerprint(a: float, b: int) -> None:
    assert fingerprint(Forward(a=a, b=b)) == fingerprint(Backward(a=a, b=b))


@given(specs())
def test_a_spec_survives_its_json_file(spec: ExperimentSpec) -> None:
    assert ExperimentSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_value_without_canonical_form_has_no_fingerprint() -> None:
    with pytest.raises(TypeError, match="set has no canonical form"):
        fingerprint(BASE.model_copy(update={"seed": {1}}))


def test_a_fingerprint_stays_the_same_over_time() -> None:
    """Pinned on a group of its own, so that new fields elsewhere leave the value alone."""
    assert fingerprint(EvaluationSpec()) == "8050d3cd230d"


@given(specs(), free_edits())
def test_cross_id_weights_are_named_by_the_whole_spec(spec: ExperimentSpec, change: tuple[str, Any]) -> None:
    path, value = change
    same = stage_fingerprint(edit(spec, {path: value}), "cross_id") == stage_fingerprint(spec, "cross_id")
    assert same == (leaves(spec)[path] == value)


@given(specs())
def test_another_version_of_the_synthetic_humans_is_other_clips_and_other_weights(spec: ExperimentSpec) -> None:
    before = names_of_results(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spec_module, "SYNTH_VERSION", 999)
        assert changed(before, names_of_results(spec)) == [spec.data.source == "synthetic"] * 4


@pytest.mark.parametrize("part", ["base", "codec"])
@given(specs())
def test_other_weights_shipped_as_embedded_are_another_training_of_the_same_clips(
    part: str, spec: ExperimentSpec
) -> None:
    before, reads = names_of_results(spec), getattr(spec.model, part) == "embedded"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EMBEDDED_WEIGHTS, part, "0" * 12)
        assert changed(before, names_of_results(spec)) == [reads, reads, reads, False]


@given(specs(), free_edits())
def test_same_id_weights_are_shared_by_specs_that_differ_only_later(
    spec: ExperimentSpec, change: tuple[str, Any]
) -> None:
    path, value = change
    edited = edit(spec, {path: value})
    shared = stage_fingerprint(edited, "same_id") == stage_fingerprint(spec, "same_id")
    assert shared == (path in LATER_ONLY or leaves(spec)[path] == value)


@given(specs(), free_edits())
def test_weights_are_shared_by_specs_that_differ_only_in_sampling_and_evaluation(
    spec: ExperimentSpec, change: tuple[str, Any]
) -> None:
    path, value = change
    shared = weights_fingerprint(edit(spec, {path: value})) == weights_fingerprint(spec)
    assert shared == (path in SAMPLED_ONLY or leaves(spec)[path] == value)


def test_variants_without_same2x_share_the_teacher() -> None:
    variant = edit(BASE, {"same2x.enabled": False, "cross_id.steps": 5})
    assert stage_fingerprint(variant, "same_id") == stage_fingerprint(BASE, "same_id")


def test_the_noise_schedule_is_part_of_the_teacher() -> None:
    variant = edit(BASE, {"sampling.snr_shift_scale": 1.0})
    assert stage_fingerprint(variant, "same_id") != stage_fingerprint(BASE, "same_id")
    assert weights_fingerprint(variant) != weights_fingerprint(BASE)


@given(specs(), free_edits())
def test_cached_cues_depend_on_clips_and_cues_but_not_on_their_switches(
    spec: ExperimentSpec, change: tuple[str, Any]
) -> None:
    path, value = change
    reads = path.startswith(("data.", "cues.")) and not path.endswith("enabled")
    same = data_fingerprint(edit(spec, {path: value})) == data_fingerprint(spec)
    assert same == (not reads or leaves(spec)[path] == value)


@pytest.mark.parametrize("cue", ["pose", "face", "location"])
def test_switching_a_cue_off_reuses_the_cached_cues(cue: str) -> None:
    assert data_fingerprint(edit(BASE, {f"cues.{cue}.enabled": False})) == data_fingerprint(BASE)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"same2x.depth": 0.0}, "same2x.depth=0.0: must be a number > 0 and <= 1"),
        ({"model.latent_channels": 17}, "model.latent_channels=17"),
        ({"model.patch_size": 3}, "model.patch_size=3: must divide the latent side, 8"),
        ({"data.size": 32, "cues.location.soften_cells": 33}, "must be <= data.size=32"),
        (
            {"model.base": "random", "model.codec": "cogvideox", "model.latent_channels": 16, "data.latent_frames": 4},
            "data.latent_frames=4: must be odd",
        ),
        (
            {"sampling.num_steps": 7},
            "sampling.num_steps=7: sampling.scheduler=ddim would not end at the clip itself; 5 and 8 do",
        ),
        (
            {"sampling.guidance_scale": 2.0, "sampling.guidance_over": "text"},
            "sampling.guidance_scale=2: must be 1 with sampling.guidance_over=text and model.text_encoder=none",
        ),
        (
            {"evaluation.subsets": ("self", "face"), "evaluation.split": "val"},
            "evaluation.split=val: must be test with evaluation.subsets=face, found there alone",
        ),
        ({"evaluation.subsets": ("self", "self")}, "names a subset twice"),
        ({"evaluation.networks": ("i3d", "i3d")}, "names a network twice"),
        ({"evaluation.networks": ("i3d",), "data.latent_frames": 2}, "i3d needs clips of 9 frames or more"),
        ({"data.perception.person": (0.1, 0.2)}, "person=0.1,0.2: must be a comma-separated list of 4, each a"),
        ({"evaluation.networks": ("i3d_",)}, "evaluation.networks=i3d_: must be a comma-separated list of 1 or more"),
        ({"data.cue_strength": 0.2}, "data: cue_strength=0.2 needs cue_quality=pseudo"),
        ({"seed": 2**32}, "seed=4294967296"),
    ],
)
def test_contradictions_are_refused(edits: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        edit(BASE, edits)


@given(SHARES)
def test_a_strength_that_nothing_reads_names_no_experiment_of_its_own(strength: float) -> None:
    """True drivers have one strength alone, so two specs of them never differ in it and never train the same twice."""
    pseudo = edit(BASE, {"data.cue_quality": "pseudo", "data.cue_strength": strength})
    assert pseudo.data.undegraded == BASE.data
    if strength != BASE.data.cue_strength:
        with pytest.raises(UserError, match="needs cue_quality=pseudo"):
            edit(pseudo, {"data.cue_quality": "true"})


def test_there_is_always_something_to_evaluate() -> None:
    with pytest.raises(ValidationError):
        EvaluationSpec(subsets=())
