import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.cues.gate import gate, judged, measured
from directanimator.cues.spec import GateSpec, TrustSpec
from tests.strategies import soft_masks, track_of, walks


def square_masks(frames: int, side: int = 12) -> np.ndarray:
    masks = np.zeros((frames, 40, 40), np.uint8)
    masks[:, 10 : 10 + side, 10 : 10 + side] = 255
    return masks


def spoil(mask: np.ndarray, how: str) -> None:
    if how == "empty":
        mask[:] = 0
    elif how == "too_small":
        mask[14:] = 0
    elif how == "too_large":
        mask[5:35, 5:35] = 255
    elif how == "fragmented":
        mask[30:36, 30:36] = 255


@given(walks())
def test_steady_people_are_accepted(clip):
    report = gate(track_of(clip, 40).mask, GateSpec(min_area_ratio=0.3, max_area_ratio=3.0))
    assert report.accepted.all()
    assert set(report.reasons) == {None}


@pytest.mark.parametrize("how", ["empty", "too_small", "too_large", "fragmented"])
@given(frames=st.integers(3, 9), data=st.data())
def test_exactly_the_spoiled_frame_is_rejected(how, frames, data):
    bad = data.draw(st.integers(0, frames - 1))
    masks = square_masks(frames)
    spoil(masks[bad], how)
    report = gate(masks, GateSpec())
    assert report.reasons == tuple(how if i == bad else None for i in range(frames))


@given(st.integers(3, 9), st.integers(1, 20))
def test_empty_frames_do_not_shift_the_typical_area(good, empty):
    masks = np.concatenate([square_masks(good), np.zeros((empty, 40, 40), np.uint8)])
    np.testing.assert_array_equal(gate(masks, GateSpec()).accepted, np.arange(good + empty) < good)


@given(soft_masks())
def test_a_frame_is_accepted_when_it_has_no_reason_against_it(masks):
    report = gate(masks, GateSpec())
    assert report.accepted.shape == (len(masks),)
    assert report.accepted.tolist() == [reason is None for reason in report.reasons]


def test_specks_below_the_share_are_forgiven():
    masks = square_masks(3)
    masks[1, 30:32, 30:32] = 255
    assert gate(masks, GateSpec()).accepted.all()


def test_faint_coverage_is_no_person():
    assert gate(square_masks(2) // 4, GateSpec()).reasons == ("empty", "empty")


@given(walks(most_frames=6), st.booleans())
def test_frames_in_reverse_order_get_verdicts_in_reverse_order(clip, spoiled):
    masks = track_of(clip, 48).mask.copy()
    if spoiled:
        masks[0, :, :20] = 255
    assert gate(masks[::-1], GateSpec()).reasons == gate(masks, GateSpec()).reasons[::-1]


@given(walks(most_frames=5), st.integers(2, 4), st.booleans())
def test_enlarging_the_video_changes_no_verdict(clip, factor, spoiled):
    masks = track_of(clip, 32).mask.copy()
    if spoiled:
        masks[-1, :5] = 255
    large = masks.repeat(factor, axis=1).repeat(factor, axis=2)
    for trust in (None, TrustSpec(max_border=0.2)):
        before, after = ([measured(mask, 0.9) for mask in part] for part in (masks, large))
        assert judged(after, GateSpec(), trust).reasons == judged(before, GateSpec(), trust).reasons


@pytest.mark.parametrize(
    ("border", "score", "reason"), [(1, 0.9, None), (1, 0.4, "unsure"), (3, 0.9, "at_border"), (0, 0.5, None)]
)
def test_only_masks_of_nets_need_trust(border, score, reason):
    """A bust touches one side of four."""
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 255
    for side in range(border):
        np.rot90(mask, side)[14:, :] = 255
    figures = [measured(mask, score)]
    assert judged(figures, GateSpec(), TrustSpec()).reasons == (reason,)
    assert judged(figures, GateSpec()).reasons == (None,)
