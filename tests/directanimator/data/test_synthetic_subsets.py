"""Evaluation subsets: fixed, disjoint in what they are about, and true to it by ground truth."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from directanimator.data.spec import DataSpec
from directanimator.data.synthetic import identity_at
from directanimator.data.synthetic import subsets as subsets_module
from directanimator.data.synthetic.face import EXPRESSIONS
from directanimator.data.synthetic.ground_truth import GroundTruth
from directanimator.data.synthetic.keypoints import COCO_17
from directanimator.data.synthetic.subsets import (
    PROBE_SIZE,
    PROBE_TIMES,
    SUBSET_CLIPS,
    Subset,
    belongs,
    hidden_share,
    joint_distance,
    picture_change,
    render_driver,
    subset_pair,
)
from directanimator.data.synthetic_items import subset_item
from directanimator.errors import UserError

SUBSETS: tuple[Subset, ...] = get_args(Subset)
members = st.integers(0, SUBSET_CLIPS - 1)
few = settings(max_examples=8)


def driver_truth(subset: Subset, index: int, size: int = 64) -> GroundTruth:
    clip = render_driver(subset_pair(subset, index, 1, 8.0), PROBE_TIMES, size)
    assert clip.truth is not None
    return clip.truth


@given(st.sampled_from(SUBSETS), members, st.integers(1, 17))
def test_a_member_is_the_same_every_time_and_of_the_test_split(subset: Subset, index: int, frames: int) -> None:
    first, second = (subset_pair(subset, index, frames, 8.0) for _ in range(2))
    assert first.identity.split == first.driver.split == first.motion.split == "test"
    np.testing.assert_array_equal(first.times, second.times)
    np.testing.assert_array_equal(first.motion.track.directions, second.motion.track.directions)
    assert first.identity is second.identity
    assert len(first.times) == frames


@pytest.mark.parametrize("subset", SUBSETS)
def test_members_differ(subset: Subset) -> None:
    pairs = [subset_pair(subset, index, 2, 8.0) for index in range(SUBSET_CLIPS)]
    assert len({(p.identity.index, p.driver.index, p.motion.track.directions.tobytes()) for p in pairs}) == SUBSET_CLIPS


@given(members)
def test_self_drives_itself_and_all_others_are_driven_by_someone_else(index: int) -> None:
    own = subset_pair("self", index, 4, 8.0)
    assert own.identity is own.driver
    assert own.scene is own.driver_scene
    for subset in SUBSETS[1:]:
        pair = subset_pair(subset, index, 4, 8.0)
        assert pair.identity is not pair.driver
        assert pair.scene is not pair.driver_scene


@few
@given(st.sampled_from(["self", "cross", "occlusion", "complex", "face"]), members)
def test_a_listed_member_belongs(subset: Subset, index: int) -> None:
    assert belongs(subset, subsets_module._members()[subset][index])


@few
@given(members)
def test_drivers_of_occlusion_are_hidden_in_many_frames(index: int) -> None:
    clip = render_driver(subset_pair("occlusion", index, 1, 8.0), PROBE_TIMES, PROBE_SIZE)
    assert (hidden_share(clip) >= 0.25).mean() >= 1 / 3


def test_more_is_hidden_in_occlusion_than_in_cross() -> None:
    def hidden(subset: Subset) -> float:
        return float(np.mean([1 - driver_truth(subset, index).coco.visible.mean() for index in range(8)]))

    assert hidden("occlusion") > hidden("cross") + 0.1


def test_occluders_stand_before_the_driver_alone_or_before_both() -> None:
    pairs = [subset_pair("occlusion", index, 1, 8.0) for index in range(SUBSET_CLIPS)]
    alone = [p for p in pairs if p.driver_occluders and not p.occluders]
    both = [p for p in pairs if p.driver_occluders and p.occluders]
    assert len(alone) >= 4
    assert len(both) >= 4
    assert not any(subset_pair("complex", index, 1, 8.0).driver_occluders for index in range(8))


@few
@given(members)
def test_drivers_of_face_are_near_and_show_strong_expressions(index: int) -> None:
    assert subset_pair("face", index, 1, 8.0).view == "bust"
    truth = driver_truth("face", index)
    strongest = np.concatenate([truth.expression, truth.accent], 1).max(1)
    assert (strongest >= 0.6).mean() >= 1 / 3
    assert (truth.head_yaw < 1.7).mean() > 0.8
    assert truth.expression.shape[1] == len(EXPRESSIONS)


@few
@given(st.integers(0, SUBSET_CLIPS // 2 - 1))
def test_members_of_ambiguous_are_twins_two_by_two(index: int) -> None:
    pairs = [subset_pair("ambiguous", 2 * index + which, 5, 8.0) for which in (0, 1)]
    first, second = (render_driver(pair, pair.times, PROBE_SIZE) for pair in pairs)
    assert {pair.projection for pair in pairs} == {"orthographic"}
    assert pairs[0].driver is pairs[1].driver
    assert pairs[0].reference_time == pairs[1].reference_time
    assert first.truth is not None
    assert second.truth is not None
    is_back = second.truth.facing[0] < 0
    assert joint_distance(first, second, "back" if is_back else "depth") * 128 < (3.5 if is_back else 0.5)
    assert picture_change(first, second) > 0.02


def test_half_of_the_twins_show_the_back() -> None:
    twins = [subset_pair("ambiguous", index, 1, 8.0).motion.track for index in range(1, SUBSET_CLIPS, 2)]
    assert sum(bool((track.yaw == np.pi).all()) for track in twins) == SUBSET_CLIPS // 4


def test_to_a_skeleton_a_twin_is_its_twin_and_to_the_eye_it_is_not() -> None:
    names = [COCO_17.index(f"{side}_{part}") for side in ("left", "right") for part in ("elbow", "wrist")]
    for index in range(0, SUBSET_CLIPS, 8):
        first, second = driver_truth("ambiguous", index), driver_truth("ambiguous", index + 1)
        if second.facing[0] > 0:
            np.testing.assert_allclose(first.coco.xy[:, names], second.coco.xy[:, names], atol=0.25)
            assert np.abs(first.coco.position[:, names] - second.coco.position[:, names]).max() > 0.2


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("subset", "index", "told"),
    [
        ("amibguous", 0, r"subset 'amibguous': .*did you mean 'ambiguous'"),
        ("face", 32, r"subset face index 32: legal are 0 to 31"),
        ("face", -1, r"legal are 0 to 31"),
    ],
)
def test_a_wrong_subset_or_index_is_refused_by_name(subset: str, index: int, told: str) -> None:
    with pytest.raises(UserError, match=told):
        subset_pair(subset, index, 5, 8.0)


@pytest.mark.parametrize(("frames", "fps"), [(0, 8.0), (-3, 8.0), (5, 0.0), (5, float("nan")), (60, 8.0)])
def test_an_impossible_window_is_refused(frames: int, fps: float) -> None:
    with pytest.raises(UserError, match=f"clip of {frames} frames"):
        subset_pair("cross", 0, frames, fps)


def test_a_list_of_another_version_of_the_data_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subsets_module, "SYNTH_VERSION", 999)
    with pytest.raises(UserError, match=r"data version \d+, this is 999"):
        subsets_module._members.__wrapped__()


def test_a_member_is_an_item_whose_target_is_free_of_what_hides_the_driver() -> None:
    spec = DataSpec(size=32, latent_frames=2)
    index = next(i for i in range(SUBSET_CLIPS) if not subset_pair("occlusion", i, 5, 8.0).occluders)
    pair, item = subset_pair("occlusion", index, 5, 8.0), subset_item("occlusion", index, spec)
    assert item.target.shape == (5, 32, 32, 3)
    assert not np.array_equal(item.driving, item.own_frames)
    assert pair.identity is identity_at("test", pair.identity.index)
