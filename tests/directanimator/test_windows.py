"""Sliding windows over a long video: every frame is made, weighed to one, and let go as soon as it is whole."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.errors import UserError
from directanimator.windows import Seams, Window, blended, default_overlap, plan_windows, window_weights


@st.composite
def plans(draw: st.DrawFn) -> tuple[int, int, int]:
    """Frames of a clip, frames of a window, frames that neighbors share."""
    length = draw(st.integers(1, 24))
    return draw(st.integers(1, 200)), length, draw(st.integers(0, length - 1))


def total_weights(count: int, windows: list[Window]) -> np.ndarray:
    """At each frame of the clip, the sum of the weights of every window that shows it."""
    total = np.zeros(count)
    for window, weights in zip(windows, window_weights(windows), strict=True):
        np.add.at(total, np.arange(window.start, window.stop), weights[: window.stop - window.start])
    return total


@given(plans())
def test_window_weights_sum_to_one_at_every_frame(plan: tuple[int, int, int]) -> None:
    np.testing.assert_allclose(total_weights(plan[0], plan_windows(*plan)), 1, rtol=1e-6)


@given(plans())
def test_windows_have_one_length_and_leave_the_clip_only_if_it_is_shorter(plan: tuple[int, int, int]) -> None:
    count, length, _ = plan
    for window in plan_windows(*plan):
        assert len(window.frames) == length
        assert 0 <= window.start < window.stop <= count
        assert window.stop - window.start == min(length, count)
        assert window.frames[: window.stop - window.start] == tuple(range(window.start, window.stop))
        assert set(window.frames[window.stop - window.start :]) <= {count - 1}


@given(plans())
def test_neighbors_share_at_least_the_overlap_and_no_window_is_needless(plan: tuple[int, int, int]) -> None:
    count, length, overlap = plan
    windows = plan_windows(*plan)
    shared = [before.stop - after.start for before, after in itertools.pairwise(windows)]
    assert all(overlap <= frames < length for frames in shared)
    assert all(frames == overlap for frames in shared[:-1])
    assert len(windows) == 1 or (len(windows) - 1) * (length - overlap) + overlap < count


@given(plans(), st.integers(0, 2**32 - 1))
def test_windows_that_agree_blend_to_what_they_agree_on(plan: tuple[int, int, int], seed: int) -> None:
    video = np.random.default_rng(seed).integers(0, 256, (plan[0], 2, 2, 3), np.uint8)
    made = blended(plan_windows(*plan), lambda window: video[list(window.frames)])
    assert np.array_equal(np.stack(list(made)), video)


@given(plans())
def test_a_frame_lies_between_the_windows_that_show_it(plan: tuple[int, int, int]) -> None:
    windows = plan_windows(*plan)
    levels = {window: 100 * (number % 2) for number, window in enumerate(windows)}
    for k, frame in enumerate(blended(windows, lambda w: np.full((len(w.frames), 1, 1, 3), levels[w], np.uint8))):
        shown = [levels[window] for window in windows if window.start <= k < window.stop]
        assert min(shown) <= int(frame[0, 0, 0]) <= max(shown)
        assert len(set(shown)) == 1 or min(shown) < int(frame[0, 0, 0]) < max(shown)


@given(plans(), st.data())
def test_no_window_is_made_before_its_first_frame_is_asked_for(plan: tuple[int, int, int], data: st.DataObject) -> None:
    windows, made = plan_windows(*plan), []

    def make(window: Window) -> np.ndarray:
        made.append(window)
        return np.zeros((len(window.frames), 1, 1, 3), np.uint8)

    asked = data.draw(st.integers(1, plan[0]))
    frames = blended(windows, make)
    for _ in range(asked):
        next(frames)
    assert made == [window for window in windows if window.start < asked]


def test_the_blend_goes_from_one_window_to_the_next_without_a_step() -> None:
    before, after = window_weights(plan_windows(9, 6, 3))
    np.testing.assert_allclose(before, [1, 1, 1, 0.75, 0.5, 0.25])
    np.testing.assert_allclose(after, [0.25, 0.5, 0.75, 1, 1, 1])


@given(st.integers(1, 300))
def test_the_overlap_by_default_is_legal(length: int) -> None:
    assert 0 <= default_overlap(length) < length


@pytest.mark.parametrize("overlap", [-1, 9, 12])
def test_an_overlap_that_leaves_no_way_forward_is_refused(overlap: int) -> None:
    with pytest.raises(UserError, match=r"overlap=.*0\.\.8"):
        plan_windows(30, 9, overlap)


# ---------------------------------------------------------------- seams


def seams_of(video: np.ndarray, length: int, overlap: int, offset: float = 0.0) -> Seams:
    """The seams of windows over a video whose every second window is brighter by `offset`."""
    windows, seams = plan_windows(len(video), length, overlap), Seams()
    odd = set(windows[1::2])

    def make(window: Window) -> np.ndarray:
        return np.clip(video[list(window.frames)] + (offset if window in odd else 0), 0, 255).astype(np.uint8)

    for _ in blended(windows, make, seams):
        pass
    return seams


def moving(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float64)[:, None, None, None] * np.ones((1, 2, 2, 3)) + 20


def test_where_windows_agree_a_seam_changes_as_the_interior_does() -> None:
    seams = seams_of(moving(60), 12, 4)
    assert seams.report().change_ratio == pytest.approx(1)
    assert seams.report().disagreement == 0


@given(st.integers(8, 60))
def test_windows_that_differ_show_in_the_seams_alone(offset: int) -> None:
    report = seams_of(moving(60), 12, 4, float(offset)).report()
    assert report.disagreement == pytest.approx(offset)
    assert report.interior_change == pytest.approx(1)
    assert report.change_ratio > 1.5


@given(st.integers(8, 60))
def test_windows_that_meet_without_an_overlap_show_their_jumps_in_the_seams(offset: int) -> None:
    report = seams_of(moving(60), 12, 0, float(offset)).report()
    assert report.interior_change == pytest.approx(1)
    assert report.seam_change == pytest.approx(offset, abs=1.01)
    assert np.isnan(report.disagreement)


def test_drift_is_how_far_windows_stray_from_the_first_one() -> None:
    flat = np.full((40, 2, 2, 3), 50.0)
    assert seams_of(flat, 10, 2).report().drift == (0, 0, 0, 0, 0)
    assert seams_of(flat, 10, 2, 30.0).report().drift == (0, 30, 0, 30, 0)


def test_one_window_has_no_seam() -> None:
    assert np.isnan(seams_of(moving(5), 9, 2).report().change_ratio)
