from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.cues.alignment import identity_alignment, warped
from directanimator.cues.location import location_cue, soften, warp_masks
from directanimator.cues.person import PersonTrack
from directanimator.cues.spec import LocationCueSpec
from tests.strategies import (
    alignments,
    canvas_sides,
    figures,
    soft_masks,
    track_of,
    walks,
    whole_figure_alignments,
)

SIDE = 96


def faceless(track: PersonTrack) -> PersonTrack:
    return replace(track, face_box=np.full_like(track.face_box, np.nan))


def center_of(mask: np.ndarray) -> tuple[float, float]:
    """Centroid, in pixels."""
    rows, columns = np.indices(mask.shape)
    return float((mask * columns).sum() / mask.sum()), float((mask * rows).sum() / mask.sum())


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
def test_hard_masks_are_the_drivers_masks_laid_over_the_reference(clip, alignment):
    track = track_of(clip, SIDE)
    body, _ = location_cue(track, alignment, SIDE, LocationCueSpec(soften_cells=None))
    np.testing.assert_array_equal(body, np.stack([warped(mask, alignment) for mask in track.mask]))


@given(walks(), alignments(), st.none() | st.integers(1, 32))
def test_unaligned_masks_stay_where_the_driver_is(clip, alignment, cells):
    track, spec = track_of(clip, SIDE), LocationCueSpec(aligned=False, soften_cells=cells)
    moved, still = location_cue(track, alignment, 64, spec), location_cue(track, identity_alignment(), 64, spec)
    np.testing.assert_array_equal(moved, still)
    aligned = location_cue(track, identity_alignment(), 64, LocationCueSpec(soften_cells=cells))
    np.testing.assert_array_equal(still, aligned)


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
