import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.cues.alignment import identity_alignment, warped
from directanimator.cues.pose import LIFT, MID_GRAY, pose_cue
from directanimator.cues.spec import PoseCueSpec
from tests.strategies import alignments, cutoffs, filter_shapes, frames_of, seeds, track_of, videos, walks

SIDE = 40
STILL = identity_alignment()
PLAIN = PoseCueSpec(normalized=False)
IDEAL_ALL = PoseCueSpec(filter_shape="ideal", cutoff=4096.0, normalized=False)


def pose_specs():
    return st.builds(
        PoseCueSpec,
        picture=st.sampled_from(["gray", "rgb"]),
        cutoff=cutoffs(),
        filter_shape=filter_shapes(),
        normalized=st.booleans(),
    )


def all_accepted(frames):
    return np.ones(len(frames), np.bool_)


@given(videos(), pose_specs(), seeds())
def test_pose_cue_has_the_frames_of_the_video(video, spec, seed):
    mask = np.random.default_rng(seed).integers(0, 256, video.shape[:3], np.uint8)
    colors = () if spec.picture == "gray" else (3,)
    assert pose_cue(video, mask, all_accepted(video), STILL, spec).shape == (*video.shape[:3], *colors)


@given(walks(), pose_specs(), alignments())
def test_colors_of_a_gray_person_tell_what_brightness_tells(clip, spec, alignment):
    frames, mask = frames_of(clip, SIDE)[..., :1].repeat(3, axis=-1), track_of(clip, SIDE).mask
    gray, rgb = (
        pose_cue(frames, mask, all_accepted(frames), alignment, spec.model_copy(update={"picture": picture}))
        for picture in ("gray", "rgb")
    )
    assert np.abs(rgb.astype(int) - gray[..., None]).max() <= 1


@given(st.integers(40, 200), st.booleans())
def test_only_colors_tell_clothes_of_equal_brightness_apart(level, normalized):
    """Stripes of a red and of a green as bright as it."""
    red, green = np.array([level, 0, 0]), np.array([0, 0.299 * level / 0.587, 0])
    stripes = np.where(np.arange(SIDE)[None, None, :, None] % 10 < 5, red, green)
    frames = np.rint(np.broadcast_to(stripes, (1, SIDE, SIDE, 3))).astype(np.uint8)
    mask = np.full((1, SIDE, SIDE), 255, np.uint8)
    gray, rgb = (
        pose_cue(frames, mask, all_accepted(frames), STILL,
                 PoseCueSpec(picture=picture, normalized=normalized, cutoff=4096.0))
        for picture in ("gray", "rgb")
    )  # fmt: skip
    assert np.ptp(gray.astype(int)) <= 4
    assert np.ptp(rgb[..., 0].astype(int)) > np.ptp(gray.astype(int)) + 10
    assert (np.diff(rgb[0, 0, [0, 5]].astype(int), axis=0)[0, :2] * [-1, 1] > 0).all()


@given(walks(), pose_specs(), seeds())
def test_background_never_reaches_the_pose_cue(clip, spec, seed):
    frames, mask = frames_of(clip, SIDE), track_of(clip, SIDE).mask
    noise = np.random.default_rng(seed).integers(0, 256, frames.shape, np.uint8)
    elsewhere = np.where(mask[..., None] == 0, noise, frames)
    np.testing.assert_array_equal(
        pose_cue(frames, mask, all_accepted(frames), STILL, spec),
        pose_cue(elsewhere, mask, all_accepted(frames), STILL, spec),
    )


@given(walks(), pose_specs(), st.integers(-10, 10), st.integers(-10, 10))
def test_translating_the_input_moves_the_pose_cue_equally(clip, spec, down, across):
    """As long as nothing of the person, or of what the filter makes of it, comes near a border."""
    steep = spec.model_copy(update={"filter_shape": "gaussian", "cutoff": max(spec.cutoff, 4.0)})
    margin = ((0, 0), (30, 30), (30, 30))
    frames = np.pad(frames_of(clip, SIDE), (*margin, (0, 0)))
    mask = np.pad(track_of(clip, SIDE).mask, margin)
    moved = pose_cue(
        np.roll(frames, (down, across), axis=(1, 2)),
        np.roll(mask, (down, across), axis=(1, 2)),
        all_accepted(frames),
        STILL,
        steep,
    )
    still = np.roll(pose_cue(frames, mask, all_accepted(frames), STILL, steep), (down, across), axis=(1, 2))
    assert np.abs(moved.astype(int) - still).max() <= 1


@given(st.floats(3, 30), st.sampled_from([0, 1, 2, 3]), st.integers(0, 255), st.booleans())
def test_a_person_cut_by_one_border_leaves_no_trace_at_the_opposite_one(cutoff, turns, level, normalized):
    mask = np.zeros((1, SIDE, SIDE), np.uint8)
    mask[:, -10:, 8:30] = 255
    mask = np.rot90(mask, turns, axes=(1, 2)).copy()
    frames = np.full((1, SIDE, SIDE, 3), level, np.uint8)
    cue = pose_cue(frames, mask, all_accepted(frames), STILL, PoseCueSpec(cutoff=cutoff, normalized=normalized))
    upright = np.rot90(cue, -turns, axes=(1, 2))
    assert np.abs(upright[:, :10].astype(int) - MID_GRAY).max() <= 1


@given(videos(), pose_specs(), st.data())
def test_rejected_frames_are_flat_and_others_as_if_those_were_not_there(video, spec, data):
    mask = np.full(video.shape[:3], 255, np.uint8)
    accepted = np.array(data.draw(st.lists(st.booleans(), min_size=len(video), max_size=len(video))), np.bool_)
    cue = pose_cue(video, mask, accepted, STILL, spec)
    assert (cue[~accepted] == MID_GRAY).all()
    if accepted.any():
        alone = pose_cue(video[accepted], mask[accepted], all_accepted(video[accepted]), STILL, spec)
        np.testing.assert_array_equal(cue[accepted], alone)


@given(walks(), cutoffs(), filter_shapes(), st.floats(0.3, 1), st.floats(0, 60))
def test_a_normalized_pose_cue_does_not_tell_a_bright_driver_from_a_dark_one(clip, cutoff, shape, contrast, shift):
    spec = PoseCueSpec(cutoff=cutoff, filter_shape=shape)
    frames, mask = frames_of(clip, SIDE), track_of(clip, SIDE).mask
    other = np.clip(np.rint(frames * contrast + shift), 0, 255).astype(np.uint8)
    unclipped = other.max() < 255
    one, two = (pose_cue(f, mask, all_accepted(f), STILL, spec).astype(int) for f in (frames, other))
    assert not unclipped or np.abs(one - two).max() <= 3


@given(videos(), st.integers(0, 255))
def test_a_normalized_person_is_brighter_than_the_surroundings_on_average_by_a_fixed_amount(video, level):
    """Whatever it wears; a person without any contrast too."""
    flat = np.full_like(video, level)
    spec = IDEAL_ALL.model_copy(update={"normalized": True})
    for frames in (video, flat):
        cue = pose_cue(frames, np.full(frames.shape[:3], 255, np.uint8), all_accepted(frames), STILL, spec)
        assert float(cue.mean()) == pytest.approx(MID_GRAY + LIFT, abs=4)
        assert cue.min() >= MID_GRAY


@given(videos())
def test_without_filter_and_mask_the_pose_cue_is_luma(video):
    cue = pose_cue(video, np.full(video.shape[:3], 255, np.uint8), all_accepted(video), STILL, IDEAL_ALL)
    red, green, blue = np.moveaxis(video.astype(float), -1, 0)
    assert np.abs(cue - (0.299 * red + 0.587 * green + 0.114 * blue)).max() <= 0.51


@given(videos(), filter_shapes())
def test_at_the_highest_cutoff_no_shape_filters_anything(video, shape):
    whole = np.full(video.shape[:3], 255, np.uint8)
    spec = PoseCueSpec(cutoff=4096.0, filter_shape=shape)
    ideal = PoseCueSpec(cutoff=4096.0, filter_shape="ideal")
    found, expected = (pose_cue(video, whole, all_accepted(video), STILL, one) for one in (spec, ideal))
    assert np.abs(found.astype(int) - expected).max() <= 1


@given(walks(), st.integers(0, 255))
def test_a_fifth_of_coverage_leaves_a_fifth_of_the_contrast(clip, level):
    frames = np.full((len(clip), SIDE, SIDE, 3), level, np.uint8)
    cue = pose_cue(frames, np.full(frames.shape[:3], 51, np.uint8), all_accepted(frames), STILL, IDEAL_ALL)
    assert np.abs(cue - (MID_GRAY + (level - MID_GRAY) / 5)).max() <= 0.51


def test_fine_stripes_vanish_and_a_broad_band_stays():
    columns = np.arange(64)
    stripes = np.where(columns % 2 == 0, 255, 0)
    band = np.where((columns // 16) % 2 == 0, 220, 40)
    frames = np.stack([stripes, band])[:, None, :, None].repeat(64, axis=1).repeat(3, axis=3).astype(np.uint8)
    cue = pose_cue(frames, np.full(frames.shape[:3], 255, np.uint8), all_accepted(frames), STILL, PLAIN)
    assert np.ptp(cue[0]) <= 12
    assert np.ptp(cue[1]) >= 150


@given(walks(), alignments())
def test_an_aligned_pose_cue_shows_the_person_where_the_alignment_says(clip, alignment):
    frames, mask = frames_of(clip, SIDE), np.full((len(clip), SIDE, SIDE), 255, np.uint8)
    plain = pose_cue(frames, mask, all_accepted(frames), alignment, IDEAL_ALL.model_copy(update={"aligned": False}))
    aligned = pose_cue(frames, mask, all_accepted(frames), alignment, IDEAL_ALL)
    expected = [warped(frame - np.float32(MID_GRAY), alignment) + MID_GRAY for frame in plain.astype(np.float32)]
    assert np.abs(aligned - np.stack(expected)).max() <= 1.5


@given(videos(), pose_specs(), alignments())
def test_unless_it_is_aligned_the_alignment_does_not_matter(video, spec, alignment):
    mask = np.full(video.shape[:3], 255, np.uint8)
    where_it_was = spec.model_copy(update={"aligned": False})
    one, other = (pose_cue(video, mask, all_accepted(video), a, where_it_was) for a in (STILL, alignment))
    np.testing.assert_array_equal(one, other)
