"""Test clips and what a model is measured against: shared by all variants that are tested on the same."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ablations.registry import ABLATIONS
from directanimator.data.spec import Subset
from directanimator.data.synthetic_items import subset_item
from directanimator.errors import UserError
from directanimator.metrics.protocol import compare
from experiments.edit import edit
from experiments.evaluation import clips as evaluated_clips
from experiments.evaluation.clips import clips_at_once, make_test_clips
from experiments.evaluation.evaluate import bounds_of, protocol_of
from experiments.presets import PRESETS
from experiments.spec import ExperimentSpec

SPEC = edit(PRESETS["smoke"].spec, {"data.num_test_clips": 2})


class Lossless:
    """A codec that keeps everything, and counts what it is asked for."""

    latent_channels, cell = 3, 1

    def __init__(self) -> None:
        self.decoded = 0

    def encode(self, video: Tensor) -> Tensor:
        return video

    def encode_reference(self, image: Tensor) -> Tensor:
        return image

    def decode(self, latents: Tensor) -> Tensor:
        self.decoded += 1
        return latents


def variant(name: str) -> ExperimentSpec:
    return edit(SPEC, ABLATIONS[name].edits)


@pytest.mark.parametrize("name", ["no_face_cue", "no_cues", "no_same2x"])
def test_variants_that_only_switch_cues_off_are_tested_on_the_very_clips_of_the_full_method(name: str) -> None:
    three = edit(SPEC, {"data.num_test_clips": 3})  # the third is the first that shows a face
    clips, others = make_test_clips(three), make_test_clips(edit(three, ABLATIONS[name].edits))
    assert all(clips[subset] is others[subset] for subset in SPEC.evaluation.subsets)
    assert clips["cross"][2].cues.face_cue.std() > 0  # shown, whatever the variant will be told of it


def test_clips_to_choose_by_are_others_than_those_to_test_by_and_scores_on_them_do_not_compare() -> None:
    choosing = edit(SPEC, {"evaluation.split": "val"})
    for subset, clips in make_test_clips(choosing).items():
        targets = {clip.item.target.tobytes() for clip in make_test_clips(SPEC)[subset]}
        assert targets.isdisjoint(clip.item.target.tobytes() for clip in clips)
    with pytest.raises(UserError, match="split"):
        compare(protocol_of(SPEC), protocol_of(choosing))


def test_another_cue_is_another_clip() -> None:
    clips, others = make_test_clips(SPEC)["cross"], make_test_clips(variant("cutoff_3"))["cross"]
    assert (clips[0].cues.pose_cue != others[0].cues.pose_cue).any()
    np.testing.assert_array_equal(clips[0].item.target, others[0].item.target)


def test_a_lossless_codec_has_no_ceiling_and_repeating_the_reference_no_motion() -> None:
    bounds = bounds_of(make_test_clips(SPEC)["cross"], Lossless())
    assert [scores["ssim"] for scores in bounds.ceiling] == [1.0, 1.0]
    assert all(scores["motion"] > 0.999 for scores in bounds.ceiling)
    assert [scores["motion"] for scores in bounds.trivial["repeat_reference"]] == [0.0, 0.0]


def test_bounds_are_worked_out_once_for_the_same_clips_and_codec() -> None:
    codec = Lossless()
    for name in ("full", "no_face_cue", "full"):
        bounds_of(make_test_clips(variant(name))["cross"], codec)
    assert codec.decoded == 2
    bounds_of(make_test_clips(SPEC)["self"], codec)
    assert codec.decoded == 4


def test_every_subset_has_all_clips_in_their_order() -> None:
    clips = make_test_clips(SPEC)
    assert {subset: len(found) for subset, found in clips.items()} == {"self": 2, "cross": 2}
    for own, cross in zip(clips["self"], clips["cross"], strict=True):
        assert own.item is cross.item
        assert (own.cross, cross.cross) == (False, True)
        assert torch.from_numpy(own.driving).equal(torch.from_numpy(own.item.target))


@pytest.mark.parametrize("subset", ["occlusion", "complex", "face", "ambiguous"])
def test_a_named_subset_is_driven_by_another_person_in_clips_of_its_own(subset: Subset) -> None:
    spec = edit(SPEC, {"evaluation.subsets": ("cross", subset)})
    clips = make_test_clips(spec)
    assert [clip.cross for clip in clips[subset]] == [True, True]
    for index, clip in enumerate(clips[subset]):
        np.testing.assert_array_equal(clip.item.target, subset_item(subset, index, spec.data).target)
        assert clip.driving_mask.any()
    assert all((mine.item.target != clip.item.target).any() for mine in clips[subset] for clip in clips["cross"])


def test_a_named_subset_has_no_more_clips_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluated_clips, "SUBSET_CLIPS", 3)
    clips = make_test_clips(edit(SPEC, {"evaluation.subsets": ("self", "face"), "data.num_test_clips": 4}))
    assert {subset: len(found) for subset, found in clips.items()} == {"self": 4, "face": 3}


def test_a_skeleton_is_drawn_for_a_named_subset_as_well() -> None:
    clips = make_test_clips(edit(variant("skeleton_exact"), {"evaluation.subsets": ("ambiguous",)}))["ambiguous"]
    assert all(clip.cues.pose_cue.std() > 0 for clip in clips)


def test_drivers_of_a_named_subset_are_never_degraded() -> None:
    named = {"evaluation.subsets": ("face",)}
    true, pseudo = (edit(SPEC, named | more) for more in ({}, {"data.cue_quality": "pseudo"}))
    for mine, other in zip(make_test_clips(true)["face"], make_test_clips(pseudo)["face"], strict=True):
        np.testing.assert_array_equal(mine.driving, other.driving)


@given(st.integers(8, 4096))
def test_clips_sampled_at_once_have_no_more_pixels_however_large_their_frames(side: int) -> None:
    count = clips_at_once(side)
    assert count == 1 or count * side**2 <= 16 * 64**2 < (count + 1) * side**2
    assert clips_at_once(64) == 16
