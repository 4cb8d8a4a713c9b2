"""Which frames of a video are looked at, and which square of them."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from directanimator.cues.framing import Crop, person_box, plan_crop
from directanimator.cues.person import PersonTrack, no_landmarks
from directanimator.subject import nearest_in_time, shown_at

RATES = st.sampled_from([1.0, 5.0, 8.0, 12.5, 23.976, 25.0, 30000 / 1001, 30.0, 60.0])
COUNTS = st.integers(1, 200)


@given(COUNTS, RATES, RATES)
def test_a_shown_frame_has_begun_and_not_ended(count: int, fps: float, rate: float) -> None:
    for k, frame in enumerate(shown_at(count, fps, rate)):
        assert frame / fps <= k / rate + 1e-6
        assert k / rate < (frame + 1) / fps


@given(COUNTS, RATES, RATES)
def test_as_many_frames_are_shown_as_the_clip_lasts(count: int, fps: float, rate: float) -> None:
    assert math.isclose(len(shown_at(count, fps, rate)) / rate, count / fps, abs_tol=1 / rate + 1e-6)


@given(COUNTS, RATES, RATES)
def test_going_back_in_time_keeps_the_count_and_misses_by_half_a_frame(count: int, fps: float, rate: float) -> None:
    made = len(shown_at(count, fps, rate))
    back = nearest_in_time(count, fps, made, rate)
    off = np.abs(back / rate - np.arange(count) / fps)
    assert len(back) == count
    assert np.all((off <= 0.5 / rate + 1e-6) | (back == made - 1))


@given(COUNTS, RATES)
def test_equal_rates_change_no_frame(count: int, fps: float) -> None:
    assert list(shown_at(count, fps, fps)) == list(range(count))
    assert list(nearest_in_time(count, fps, count, fps)) == list(range(count))


@st.composite
def boxes_in_frames(draw: st.DrawFn) -> tuple[tuple[int, int, int, int], int, int]:
    height, width = draw(st.integers(2, 300)), draw(st.integers(2, 300))
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return (x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))), height, width


@given(boxes_in_frames())
def test_a_crop_holds_the_person(case: tuple[tuple[int, int, int, int], int, int]) -> None:
    (x0, y0, x1, y1), height, width = case
    crop = plan_crop((x0, y0, x1, y1), height, width)
    assert crop.left <= x0
    assert x1 <= crop.left + crop.side
    assert crop.top <= y0
    assert y1 <= crop.top + crop.side


@given(boxes_in_frames())
def test_a_crop_leaves_the_frame_only_where_the_person_is_longer_than_the_frame_is_wide(
    case: tuple[tuple[int, int, int, int], int, int],
) -> None:
    box, height, width = case
    crop = plan_crop(box, height, width)
    inside = crop.left >= 0 and crop.top >= 0 and crop.left + crop.side <= width and crop.top + crop.side <= height
    assert inside or max(box[2] - box[0], box[3] - box[1]) > min(height, width)


@given(boxes_in_frames())
def test_a_crop_that_leaves_the_frame_holds_all_of_it_across(
    case: tuple[tuple[int, int, int, int], int, int],
) -> None:
    box, height, width = case
    crop = plan_crop(box, height, width)
    for start, length in ((crop.left, width), (crop.top, height)):
        within = start >= 0 and start + crop.side <= length
        around = start <= 0 and start + crop.side >= length
        assert within or around


@given(st.integers(10, 40), st.integers(60, 100))
def test_who_is_cut_off_by_the_lower_border_stays_cut_off_there(height: int, width: int) -> None:
    crop = plan_crop((2, 5, width - 2, height), height, width)
    assert crop.top + crop.side == height


@given(boxes_in_frames(), st.integers(0, 2**32 - 1))
def test_cutting_a_frame_gives_the_pixels_of_the_frame(
    case: tuple[tuple[int, int, int, int], int, int], seed: int
) -> None:
    (x0, y0, x1, y1), height, width = case
    images = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), np.uint8)
    crop = plan_crop((x0, y0, x1, y1), height, width)
    cut = crop.cut(images, empty_outside=True)
    assert cut.shape == (1, crop.side, crop.side, 3)
    seen = cut[:, y0 - crop.top : y1 - crop.top, x0 - crop.left : x1 - crop.left]
    assert np.array_equal(seen, images[:, y0:y1, x0:x1])


def test_beyond_the_frame_masks_are_empty_and_pictures_repeat_the_border() -> None:
    crop = Crop(left=-1, top=0, side=3)
    images = np.full((1, 3, 2), 9, np.uint8)
    assert not crop.cut(images, empty_outside=True)[..., 0].any()
    assert (crop.cut(images, empty_outside=False) == 9).all()


@given(boxes_in_frames())
def test_the_box_of_a_person_is_around_mask_and_face(case: tuple[tuple[int, int, int, int], int, int]) -> None:
    (x0, y0, x1, y1), height, width = case
    mask = np.zeros((2, height, width), np.uint8)
    mask[0, y0:y1, x0:x1] = 255
    face = np.array([[np.nan] * 4, [0, 0, 1, 1]], np.float32)
    assert person_box(PersonTrack(mask, face, np.ones(2, np.float32), no_landmarks(2))) == (0, 0, x1, y1)
