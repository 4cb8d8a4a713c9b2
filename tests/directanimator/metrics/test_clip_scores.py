import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.cues.canvas import resize
from directanimator.data.items import AnimationItem
from directanimator.data.spec import DataSpec
from directanimator.data.synthetic_items import synthetic_item
from directanimator.metrics.clip_scores import score_clip
from directanimator.metrics.trivial import paste_driving_frame, repeat_reference

SPEC = DataSpec(latent_frames=2)
INDICES = st.integers(0, 3)


@cache
def item_at(index: int) -> AnimationItem:
    return synthetic_item("train", index, SPEC)


def driver_of(item: AnimationItem) -> tuple[np.ndarray, np.ndarray]:
    return resize(item.driving, SPEC.size), resize(item.driving_track.mask, SPEC.size)


@given(INDICES)
def test_the_truth_scores_best_in_everything(index):
    item = item_at(index)
    scores = score_clip(item.target, item, *driver_of(item))
    assert (scores["psnr"], scores["psnr_foreground"], scores["identity"]) == (100, 100, 1)
    assert (scores["ssim"], scores["motion"]) == pytest.approx((1, 1))
    assert scores["psnr_face"] == 100 or not np.isfinite(item.target_track.face_box).all(axis=1).any()


@given(INDICES)
def test_the_ceiling_of_the_overlap_is_what_the_truth_gets(index):
    item = item_at(index)
    ceiling = score_clip(item.target, item)["mask_iou"]
    scores = score_clip(repeat_reference(item.reference, SPEC.num_frames), item)
    assert (scores["mask_iou_ceiling"], ceiling > 0.7) == (ceiling, True)


@given(INDICES)
def test_repeating_the_reference_keeps_the_person_and_follows_no_motion(index):
    item = item_at(index)
    scores = score_clip(repeat_reference(item.reference, SPEC.num_frames), item, *driver_of(item))
    assert (scores["identity"], scores["motion"]) == (1, 0)


@given(INDICES)
def test_pasting_the_driving_frame_loses_the_person(index):
    item = item_at(index)
    frames, mask = driver_of(item)
    assert score_clip(paste_driving_frame(frames), item, frames, mask)["identity"] == 0


@given(INDICES, st.integers(5, 20))
def test_noise_lowers_the_scores_of_pixels(index, spread):
    item = item_at(index)
    noise = np.random.default_rng(index).normal(0, spread, item.target.shape)
    noisy = np.clip(item.target + noise, 0, 255).astype(np.uint8)
    scores = score_clip(noisy, item)
    assert all(scores[name] < 40 for name in ("psnr", "psnr_foreground"))
    assert max(scores["ssim"], scores["motion"]) < 0.999


def test_without_a_driver_nobody_can_be_confused():
    assert "identity" not in score_clip(item_at(0).target, item_at(0))


def test_a_face_that_is_never_seen_has_no_score():
    item = item_at(0)
    faceless = replace(item.target_track, face_box=np.full_like(item.target_track.face_box, math.nan))
    assert math.isnan(score_clip(item.target, replace(item, target_track=faceless))["psnr_face"])


@pytest.mark.parametrize("given_one", [0, 1])
def test_half_a_driver_is_refused(given_one):
    half = [part if position == given_one else None for position, part in enumerate(driver_of(item_at(0)))]
    with pytest.raises(ValueError, match="go together"):
        score_clip(item_at(0).target, item_at(0), *half)
