from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.cues.location import (
    MAX_SCALE,
    MIN_SCALE,
    Alignment,
    align,
    identity_alignment,
    location_cue,
    soften,
    warp_masks,
)
from directanimator.cues.person import PersonTrack
from directanimator.cues.spec import LocationCueSpec
from directanimator.errors import UserError
from tests.strategies import Figure, alignments, canvas_sides, figures, soft_masks, track_of, walks

SIDE = 96


def faceless(track: PersonTrack) -> PersonTrack:
    return replace(track, face_box=np.full_like(track.face_box, np.nan))


def center_of(mask: np.ndarray) -> tuple[float, float]:
    """Centroid, in pixels."""
    rows, columns = np.indices(mask.shape)
    return float((mask * columns).sum() / mask.sum()), float((mask * rows).sum() / mask.sum())


def whole_figure_alignments():
    """Alignments after which the whole figure is still in the frame."""
    return st.builds(
        lambda scale, x, y: Alignment(scale, x - scale * 0.5, y - scale * 0.3),
        st.floats(0.6, 1.6),
        st.floats(0.3, 0.7),
        st.floats(0.25, 0.35),
    )


@given(whole_figure_alignments(), st.integers(1, 4))
def test_align_recovers_scale_and_translation_by_face(truth, frames):
    driving, reference = Figure(scale=0.9), Figure(scale=0.9).moved(truth)
    found = align(track_of([driving] * frames, SIDE), track_of([reference], SIDE))
    assert found.scale == pytest.approx(truth.scale, rel=1e-3)
    assert (found.dx, found.dy) == pytest.approx((truth.dx, truth.dy), abs=0.01)


@given(whole_figure_alignments(), st.integers(1, 4))
def test_align_recovers_scale_and_translation_by_mask(truth, frames):
    driving, reference = Figure(scale=0.9), Figure(scale=0.9).moved(truth)
    found = align(faceless(track_of([driving] * frames, SIDE)), track_of([reference], SIDE))
    assert found.scale == pytest.approx(truth.scale, rel=0.03)
    assert (found.dx, found.dy) == pytest.approx((truth.dx, truth.dy), abs=0.03)


@given(figures(), st.booleans())
def test_align_of_equal_tracks_is_the_identity(figure, with_face):
    track = track_of([figure], SIDE)
    found = align(track if with_face else faceless(track), track)
    assert (found.scale, found.dx, found.dy) == pytest.approx((1, 0, 0), abs=1e-6)


@given(whole_figure_alignments(), canvas_sides(64, 128))
def test_align_does_not_depend_on_resolution(truth, side):
    driving, reference = Figure(scale=0.9), Figure(scale=0.9).moved(truth)
    large, small = (align(track_of([driving], s), track_of([reference], SIDE)) for s in (2 * side, side))
    assert (large.scale, large.dx, large.dy) == pytest.approx((small.scale, small.dx, small.dy), abs=0.02)


@given(walks(), st.integers(1, 6), st.integers(0, 3))
def test_raised_arms_of_the_reference_hardly_matter(clip, thickness, lift):
    track = track_of([clip[0]], SIDE)
    mask = track.mask.copy()
    arm = slice(8 * (lift + 1), 8 * (lift + 1) + thickness)
    mask[0, arm, 10:48] = 255
    raised = align(track_of(clip, SIDE), replace(track, mask=mask))
    plain = align(track_of(clip, SIDE), track)
    assert raised.scale == plain.scale
    assert raised.dy == plain.dy
    assert raised.dx == pytest.approx(plain.dx, abs=0.05)


@given(figures(), st.integers(1, 3))
def test_a_minority_of_wild_frames_does_not_move_the_alignment(figure, wild):
    steady = track_of([figure] * (2 * wild + 1), SIDE)
    mask, box = steady.mask.copy(), steady.face_box.copy()
    mask[:wild], box[:wild] = 255, [0, 0, SIDE, SIDE]
    found = align(replace(steady, mask=mask, face_box=box), track_of([figure], SIDE))
    assert (found.scale, found.dx, found.dy) == pytest.approx((1, 0, 0), abs=1e-6)


@given(st.floats(0.05, 20))
def test_scale_of_an_alignment_is_bounded(ratio):
    track = track_of([Figure()], SIDE)
    tiny = replace(track, face_box=(track.face_box / ratio).astype(np.float32))
    assert MIN_SCALE <= align(tiny, track).scale <= MAX_SCALE


@pytest.mark.parametrize(("who", "name"), [("driving", "driving video"), ("reference", "reference image")])
def test_align_names_the_side_without_a_person(who, name):
    seen = track_of([Figure()], SIDE)
    nobody = faceless(replace(seen, mask=np.zeros_like(seen.mask)))
    tracks = {"driving": seen, "reference": seen} | {who: nobody}
    with pytest.raises(UserError, match=name):
        align(**tracks)


def test_a_reference_of_several_frames_is_refused():
    with pytest.raises(UserError, match="one image"):
        align(track_of([Figure()], SIDE), track_of([Figure()] * 2, SIDE))


@pytest.mark.parametrize(
    "values", [(0.0, 0, 0), (-1.0, 0, 0), (np.nan, 0, 0), (np.inf, 0, 0), (1.0, 64, 0), (1, 0, np.nan)]
)
def test_impossible_alignments_are_refused(values):
    with pytest.raises(ValueError, match=r"scale|share"):
        Alignment(*(float(value) for value in values))


@given(figures(), whole_figure_alignments())
def test_warped_mask_is_the_mask_of_the_moved_figure(figure, alignment):
    warped = warp_masks(figure.mask(SIDE)[None], alignment, SIDE)[0] / 255
    moved = figure.moved(alignment).mask(SIDE) / 255
    assert warped.sum() == pytest.approx(moved.sum(), rel=0.05)
    assert center_of(warped) == pytest.approx(center_of(moved), abs=0.1)


@given(soft_masks())
def test_identity_alignment_moves_nothing(masks):
    np.testing.assert_array_equal(warp_masks(masks, identity_alignment(), masks.shape[1:]), masks)


@given(soft_masks(), st.integers(1, 60))
def test_soften_is_monotone(masks, cells):
    smaller = masks // 2
    assert (soften(smaller, cells) <= soften(masks, cells)).all()


@given(st.integers(0, 255), canvas_sides(), canvas_sides(), st.integers(1, 60))
def test_soften_keeps_constants(level, height, width, cells):
    constant = np.full((2, height, width), level, np.uint8)
    np.testing.assert_array_equal(soften(constant, cells), constant)


@given(soft_masks(), st.integers(1, 60))
def test_soften_stays_between_the_extremes_of_each_frame(masks, cells):
    soft = soften(masks, cells)
    assert (soft.max(axis=(1, 2)) <= masks.max(axis=(1, 2))).all()
    assert (soft.min(axis=(1, 2)) >= masks.min(axis=(1, 2))).all()


@given(soft_masks(), st.integers(0, 20))
def test_as_many_cells_as_pixels_change_nothing(masks, more):
    np.testing.assert_array_equal(soften(masks, max(masks.shape[1:]) + more), masks)


@given(soft_masks())
def test_one_cell_leaves_only_the_mean(masks):
    soft = soften(masks, 1)
    assert np.abs(soft - masks.mean(axis=(1, 2), keepdims=True)).max() <= 0.51


@given(st.integers(0, 2**32 - 1))
def test_outlines_that_average_alike_in_each_cell_soften_alike(seed):
    """What is finer than a cell cannot be told from the cue."""
    blocks = np.random.default_rng(seed).integers(0, 256, (1, 4, 8, 4, 8), np.uint8)
    shuffled = blocks[:, :, ::-1, :, ::-1]
    first, second = (soften(np.ascontiguousarray(b.reshape(1, 32, 32)), 4) for b in (blocks, shuffled))
    assert np.abs(first.astype(int) - second).max() <= 1


@given(walks(), alignments())
def test_one_cell_leaves_no_outline_in_the_body_location(clip, alignment):
    body, _ = location_cue(track_of(clip, SIDE), alignment, 64, LocationCueSpec(soften_cells=1))
    assert (np.ptp(body, axis=(1, 2)) == 0).all()


@given(walks(), alignments())
def test_face_location_is_hard(clip, alignment):
    _, face = location_cue(track_of(clip, SIDE), alignment, 64, LocationCueSpec())
    assert set(np.unique(face)) <= {0, 255}


@given(figures(), whole_figure_alignments())
def test_face_location_covers_the_moved_face_box(figure, alignment):
    _, face = location_cue(track_of([figure], SIDE), alignment, 64, LocationCueSpec())
    x0, y0, x1, y1 = np.clip(figure.moved(alignment).face_box(64), 0, 64)
    rows, columns = np.flatnonzero(face[0].any(axis=1)), np.flatnonzero(face[0].any(axis=0))
    assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == pytest.approx((x0, y0, x1, y1), abs=0.51)


@given(walks(), alignments())
def test_no_face_means_no_face_location_and_the_same_body(clip, alignment):
    track = track_of(clip, SIDE)
    body, _ = location_cue(track, alignment, 64, LocationCueSpec())
    same_body, face = location_cue(faceless(track), alignment, 64, LocationCueSpec())
    assert not face.any()
    np.testing.assert_array_equal(body, same_body)
