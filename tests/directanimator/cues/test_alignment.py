import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.cues.alignment import MAX_SCALE, MIN_SCALE, Alignment, align, identity_alignment, warped
from directanimator.cues.gate import FOREGROUND
from directanimator.cues.person import LANDMARKS, PersonTrack, no_landmarks
from directanimator.errors import UserError
from tests.strategies import Figure, alignments, canvas_sides, figures, seeds, track_of, walks, whole_figure_alignments

SIDE = 96


def masks_only(masks: np.ndarray) -> PersonTrack:
    count = len(masks)
    return PersonTrack(masks, np.full((count, 4), np.nan, np.float32), np.ones(count, np.float32), no_landmarks(count))


def armed(figure: Figure, raised: float) -> np.ndarray:
    """The mask of a figure that stretches an arm out to the right: hanging at 0, level at 1."""
    mask = figure.mask(SIDE)
    rows, columns = (np.indices(mask.shape) + 0.5) / SIDE
    across, down = (columns - figure.x) / figure.scale, (rows - figure.y) / figure.scale
    level = 0.14 + 0.2 * (1 - raised)
    arm = (across > 0) & (across < 0.16 + 0.12 * raised) & (np.abs(down - level) < 0.03)
    return np.where(arm, np.uint8(255), mask)


@given(whole_figure_alignments(), st.integers(1, 3))
def test_masks_find_the_way_of_a_moved_figure(truth, frames):
    driving, reference = Figure(scale=0.9), Figure(scale=0.9).moved(truth)
    found = align(track_of([driving] * frames, SIDE), track_of([reference], SIDE), "masks")
    assert found.scale == pytest.approx(truth.scale, rel=0.03)
    x, y = (found.scale * at + shift for at, shift in ((driving.x, found.dx), (driving.y, found.dy)))
    assert (x, y) == pytest.approx((reference.x, reference.y), abs=0.015)


@given(figures())
def test_equal_tracks_stay_where_they_are(figure):
    track = track_of([figure], SIDE)
    found = align(track, track, "masks")
    assert (found.scale, found.dx, found.dy) == pytest.approx((1, 0, 0), abs=1e-6)


@given(whole_figure_alignments(), canvas_sides(64, 128))
def test_the_resolution_of_masks_hardly_matters(truth, side):
    driving, reference = Figure(scale=0.9), Figure(scale=0.9).moved(truth)
    large, small = (align(track_of([driving], s), track_of([reference], SIDE), "masks") for s in (2 * side, side))
    assert (large.scale, large.dx, large.dy) == pytest.approx((small.scale, small.dx, small.dy), abs=0.04)


@given(
    whole_figure_alignments().filter(lambda a: 0.75 < a.scale < 1.3),
    st.floats(0, 1),
    st.lists(st.floats(0, 1), max_size=5),
    st.data(),
)
def test_the_mask_in_the_pose_of_the_reference_decides(truth, raised, others, data):
    """Wherever it is in the clip, and whatever the other frames show."""
    driver = Figure(scale=0.8)
    poses = [*others]
    poses.insert(data.draw(st.integers(0, len(others))), raised)
    driving = masks_only(np.stack([armed(driver, pose) for pose in poses]))
    reference = masks_only(armed(driver.moved(truth), raised)[None])
    found = align(driving, reference, "masks")
    assert found.scale == pytest.approx(truth.scale, rel=0.06)
    x, y = (found.scale * at + shift for at, shift in ((driver.x, found.dx), (driver.y, found.dy)))
    assert (x, y) == pytest.approx((truth.scale * driver.x + truth.dx, truth.scale * driver.y + truth.dy), abs=0.03)


@given(walks(), figures(), st.integers(0, 2))
def test_frames_without_a_person_change_nothing(clip, figure, at):
    reference, masks = track_of([figure], SIDE), track_of(clip, SIDE).mask
    with_gap = np.insert(masks, min(at, len(masks)), 0, axis=0)
    assert align(masks_only(with_gap), reference, "masks") == align(masks_only(masks), reference, "masks")


@given(figures(), st.integers(1, 3))
def test_wild_frames_do_not_move_the_alignment(figure, wild):
    steady = track_of([figure], SIDE)
    noise = np.full((wild, SIDE, SIDE), 255, np.uint8)
    found = align(masks_only(np.concatenate([noise, steady.mask])), steady, "masks")
    assert (found.scale, found.dx, found.dy) == pytest.approx((1, 0, 0), abs=1e-6)


@given(walks(), figures())
def test_some_frame_overlaps_at_least_as_well_as_all_did_before(clip, figure):
    driving, reference = track_of(clip, 64), track_of([figure], 64)

    def overlap(mask: np.ndarray, alignment: Alignment) -> float:
        laid, still = warped(mask, alignment).astype(float), reference.mask[0].astype(float)
        return float(np.minimum(laid, still).sum() / np.maximum(laid, still).sum())

    found = align(driving, reference, "masks")
    before = max(overlap(mask, identity_alignment()) for mask in driving.mask)
    assert max(overlap(mask, found) for mask in driving.mask) >= before - 0.02


@given(st.floats(0.05, 20))
def test_the_scale_is_bounded(ratio):
    tall = masks_only(np.full((1, SIDE, SIDE), 255, np.uint8))
    reach = max(1, round(SIDE / 2 / max(1, ratio)))
    dot = np.zeros((1, SIDE, SIDE), np.uint8)
    dot[:, :reach, :reach] = 255
    assert MIN_SCALE <= align(tall, masks_only(dot), "masks").scale <= MAX_SCALE
    assert MIN_SCALE <= align(masks_only(dot), tall, "masks").scale <= MAX_SCALE


@pytest.mark.parametrize("by", ["landmarks", "masks"])
@pytest.mark.parametrize(("who", "name"), [("driving", "driving video"), ("reference", "reference image")])
def test_the_side_without_a_person_is_named(who, name, by):
    seen = track_of([Figure()], SIDE)
    tracks = {"driving": seen, "reference": seen} | {who: replace(seen, mask=np.zeros_like(seen.mask))}
    with pytest.raises(UserError, match=name):
        align(**tracks, by=by)


@pytest.mark.parametrize("by", ["landmarks", "masks"])
@pytest.mark.parametrize(("who", "name"), [("driving", "driving video"), ("reference", "reference image")])
@given(level=st.integers(0, FOREGROUND - 1))
def test_a_soft_edge_alone_is_no_person(who, name, by, level):
    seen = track_of([Figure()], SIDE)
    tracks = {"driving": seen, "reference": seen} | {who: replace(seen, mask=np.minimum(seen.mask, np.uint8(level)))}
    with pytest.raises(UserError, match=name):
        align(**tracks, by=by)


@pytest.mark.parametrize("side", [2_000, SIDE])
def test_a_person_of_one_pixel_is_aligned_or_refused(side):
    mask = np.zeros((1, side, side), np.uint8)
    mask[0, 5, 5] = FOREGROUND
    with pytest.raises(UserError, match="driving video") if side == 2_000 else contextlib.nullcontext():
        assert align(masks_only(mask), track_of([Figure()], SIDE), "masks").scale == MAX_SCALE


@given(figures(), st.integers(1, FOREGROUND - 1), st.integers(0, 1))
def test_frames_of_a_soft_edge_alone_change_nothing(figure, level, at):
    """However well the edge fits, beside a frame that does not."""
    reference, bar = track_of([figure], SIDE), np.zeros((1, SIDE, SIDE), np.uint8)
    bar[:, SIDE // 2 : SIDE // 2 + 4] = 255
    with_edge = np.insert(bar, at, np.minimum(reference.mask[0], np.uint8(level)), axis=0)
    assert align(masks_only(with_edge), reference, "masks") == align(masks_only(bar), reference, "masks")


def test_a_reference_of_several_frames_is_refused():
    with pytest.raises(UserError, match="one image"):
        align(track_of([Figure()], SIDE), track_of([Figure()] * 2, SIDE), "masks")


@pytest.mark.parametrize(
    "values", [(0.0, 0, 0), (-1.0, 0, 0), (np.nan, 0, 0), (np.inf, 0, 0), (1.0, 64, 0), (1, 0, np.nan)]
)
def test_impossible_alignments_are_refused(values):
    with pytest.raises(ValueError, match=r"scale|share"):
        Alignment(*(float(value) for value in values))


@given(seeds(), alignments(), st.floats(-2, 2))
def test_warping_is_linear_in_the_image(seed, alignment, factor):
    one, other = np.random.default_rng(seed).standard_normal((2, 24, 24)).astype(np.float32)
    together = warped(one + np.float32(factor) * other, alignment)
    apart = warped(one, alignment) + np.float32(factor) * warped(other, alignment)
    np.testing.assert_allclose(together, apart, atol=1e-4)


def mild_alignments():
    """Alignments that keep the middle of the frame in the frame."""
    return st.builds(
        lambda scale, x, y: Alignment(scale, x - scale * 0.5, y - scale * 0.5),
        st.floats(0.6, 1.6),
        st.floats(0.4, 0.6),
        st.floats(0.4, 0.6),
    )


@given(mild_alignments(), st.tuples(st.integers(40, 120), st.integers(40, 120)), st.tuples(*[st.floats(0.4, 0.6)] * 2))
def test_warping_moves_a_place_as_the_alignment_says_whatever_the_sides_of_the_frame(truth, sides, place):
    height, width = sides
    rows, columns = np.indices(sides) + 0.5
    spot = np.exp(-((columns - place[0] * width) ** 2 + (rows - place[1] * height) ** 2) / (2 * 2.5**2))
    laid = warped(spot.astype(np.float32), truth).astype(np.float64)
    found = [float((laid * at).sum() / laid.sum()) for at in (columns / width, rows / height)]
    assert found == pytest.approx([truth.scale * place[0] + truth.dx, truth.scale * place[1] + truth.dy], abs=0.01)


def landmarks_only(shares: np.ndarray, side: int = SIDE) -> PersonTrack:
    """A track that shows landmarks, and masks that tell nothing."""
    masks = np.full((len(shares), side, side), 255, np.uint8)
    return replace(masks_only(masks), landmarks=(shares * side).astype(np.float32))


@st.composite
def poses(draw: st.DrawFn) -> np.ndarray:
    """Landmarks well inside the frame, spread over at least a tenth of it."""
    drawn = np.random.default_rng(draw(seeds())).uniform(0.3, 0.7, (len(LANDMARKS), 2))
    return np.concatenate([[[0.4, 0.4], [0.6, 0.6]], drawn[2:]])


def moved(pose: np.ndarray, truth: Alignment) -> np.ndarray:
    return pose * truth.scale + [truth.dx, truth.dy]


@given(poses(), st.lists(poses(), max_size=4), mild_alignments(), st.integers(16, 300), st.data())
def test_landmarks_find_the_way_by_the_frame_in_the_pose_of_the_reference(pose, others, truth, side, data):
    """Exactly, wherever that frame is, and at any resolution."""
    clip = [*others]
    clip.insert(data.draw(st.integers(0, len(others))), pose)
    found = align(landmarks_only(np.stack(clip), side), landmarks_only(moved(pose, truth)[None]), "landmarks")
    assert (found.scale, found.dx, found.dy) == pytest.approx((truth.scale, truth.dx, truth.dy), abs=1e-4)


@given(poses(), mild_alignments(), st.sets(st.integers(2, len(LANDMARKS) - 1), max_size=9), st.booleans())
def test_unseen_landmarks_do_not_matter_while_four_are_seen(pose, truth, unseen, in_reference):
    driving, reference = pose.copy(), moved(pose, truth)
    (reference if in_reference else driving)[list(unseen)] = np.nan
    found = align(landmarks_only(driving[None]), landmarks_only(reference[None]), "landmarks")
    assert (found.scale, found.dx, found.dy) == pytest.approx((truth.scale, truth.dx, truth.dy), abs=1e-4)


@given(poses(), mild_alignments(), walks(), figures(), st.integers(0, 3), st.booleans())
def test_with_fewer_than_four_landmarks_the_masks_decide(pose, truth, clip, figure, seen, outside):
    landmarks = np.repeat((moved(pose, truth) * SIDE)[None], len(clip), axis=0).astype(np.float32)
    landmarks[:, seen:] = 2 * SIDE if outside else np.nan
    driving = replace(track_of(clip, SIDE), landmarks=landmarks)
    reference = replace(track_of([figure], SIDE), landmarks=(pose[None] * SIDE).astype(np.float32))
    assert align(driving, reference, "landmarks") == align(driving, reference, "masks")


@given(poses(), mild_alignments(), figures())
def test_by_masks_the_landmarks_are_not_looked_at(pose, truth, figure):
    track = track_of([figure], SIDE)
    landmarks = (np.stack([pose, moved(pose, truth)]) * SIDE).astype(np.float32)
    driving, reference = (replace(track, landmarks=each[None]) for each in landmarks)
    assert align(driving, reference, "masks") == align(track, track, "masks")
