import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.cues.triplet import DrivingCues, null_cues
from experiments.evaluation.sheet import SheetRow, answers_sheet, comparison_video, contact_sheet

SIDES = st.integers(8, 40)
COUNTS = st.integers(1, 6)
WHITE = np.full(3, 255)


def flat(level: int, num_frames: int, side: int) -> np.ndarray:
    return np.full((num_frames, side, side, 3), level, np.uint8)


def cues(num_frames: int, side: int) -> DrivingCues:
    return null_cues(num_frames, side)


def row(num_frames: int = 5, side: int = 16, label: str = "", levels=(10, 60, 150, 200)) -> SheetRow:
    reference, driving, generated, target = levels
    return SheetRow(
        flat(reference, 1, side),
        flat(driving, num_frames, side),
        cues(num_frames, side),
        flat(generated, num_frames, side),
        flat(target, num_frames, side),
        label,
    )


def colors_across(line: np.ndarray) -> list[int]:
    """Red of each panel along a line of pixels, gaps left out, repeated neighbors kept once."""
    reds = [int(red) for red in line[:, 0] if red != 255]
    return [red for position, red in enumerate(reds) if position == 0 or red != reds[position - 1]]


@given(COUNTS, SIDES, st.integers(1, 5), st.integers(1, 3))
def test_a_sheet_shows_the_groups_from_left_to_right(num_frames, side, num_times, scale):
    sheet = contact_sheet([row(num_frames, side)], num_times, scale)
    # Reference, driving, pose and face cue of mid-gray, empty location, generated, target.
    assert colors_across(sheet[-14 - side * scale // 2 - 1]) == [10, 60, 128, 0, 150, 200]


@given(st.integers(1, 4), st.integers(1, 3))
def test_a_sheet_grows_by_equal_rows(count, scale):
    heights = [contact_sheet([row()] * rows, scale=scale).shape[0] for rows in (count, count + 1, count + 2)]
    assert heights[2] - heights[1] == heights[1] - heights[0] >= 16 * scale


def test_rows_stand_in_the_order_given():
    rows = [row(levels=(level, 60, 150, 200)) for level in (20, 40, 80)]
    sheet = contact_sheet(rows)
    column = sheet[:, 14 + 16]
    assert [level for level in (20, 40, 80) if (column[:, 0] == level).any()] == [20, 40, 80]
    firsts = [int(np.flatnonzero(column[:, 0] == level)[0]) for level in (20, 40, 80)]
    assert firsts == sorted(firsts)


@given(st.integers(2, 12), st.integers(2, 5))
def test_a_sheet_shows_the_first_and_the_last_frame(num_frames, num_times):
    levels = np.linspace(20, 240, num_frames).astype(np.uint8)
    target = np.broadcast_to(levels[:, None, None, None], (num_frames, 16, 16, 3)).copy()
    plain = row(num_frames)
    sheet = contact_sheet([SheetRow(plain.reference, plain.driving, plain.cues, plain.generated, target)], num_times)
    line = colors_across(sheet[-30])
    shown = line[line.index(150) + 1 :]
    assert (shown[0], shown[-1], len(shown)) == (20, 240, min(num_times, num_frames))
    assert shown == sorted(shown)


def test_labels_get_their_own_room():
    plain, labelled = contact_sheet([row()]), contact_sheet([row(label="waves\n23.1 dB")])
    room = labelled.shape[1] - plain.shape[1]
    assert room > 0
    np.testing.assert_array_equal(labelled[:, room + 14 :], plain[:, 14:])
    assert (labelled[:, :room] < 128).any()


def test_every_group_has_a_header():
    sheet = contact_sheet([row(side=40)])
    header, body = sheet[:40], sheet[-30]
    edges = np.flatnonzero(np.diff((body == WHITE).all(axis=-1).astype(int)))
    assert len(edges) > 7
    assert (header < 128).any(axis=(0, 2)).sum() > 7 * 15


@given(COUNTS, st.integers(8, 150))
def test_a_video_keeps_the_frames_and_has_even_sides(num_frames, side):
    video = comparison_video(row(num_frames, side))
    assert video.shape[0] == num_frames
    assert (video.shape[1] % 2, video.shape[2] % 2) == (0, 0)
    assert min(video.shape[1], video.shape[2] // 5) >= 128


def test_a_video_shows_five_panels_in_order():
    line = comparison_video(row())[0, 80]
    assert colors_across(line) == [10, 60, 128, 150, 200]


def test_a_video_moves_with_the_clip():
    frames = np.arange(5, dtype=np.uint8)[:, None, None, None] * 40 + np.zeros((5, 16, 16, 3), np.uint8)
    plain = row()
    video = comparison_video(SheetRow(plain.reference, frames, plain.cues, plain.generated, plain.target))
    assert [int(red) for red in video[:, 80, 128 + 12 + 64, 0]] == [0, 40, 80, 120, 160]


def test_captions_stand_above_the_panels():
    video = comparison_video(row())
    bar = video[0, :24, : 5 * 140 - 12]
    written = [(bar[:, start : start + 128] < 128).any() for start in range(0, 700, 140)]
    assert written == [True] * 5


def test_parts_of_different_length_are_refused():
    plain = row()
    with pytest.raises(ValueError, match="must agree in frames and size"):
        SheetRow(plain.reference, plain.driving[:2], plain.cues, plain.generated, plain.target)


def test_a_reference_of_several_frames_is_refused():
    plain = row()
    with pytest.raises(ValueError, match="reference must be one frame"):
        SheetRow(plain.target, plain.driving, plain.cues, plain.generated, plain.target)


@pytest.mark.parametrize(
    ("rows", "settings"), [([], {}), ([row(), row(side=18)], {}), ([row()], {"num_times": 0}), ([row()], {"scale": 0})]
)
def test_a_sheet_that_cannot_be_drawn_is_refused(rows, settings):
    with pytest.raises(ValueError, match=r"a sheet needs rows|at least 1"):
        contact_sheet(rows, **settings)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 2))
def test_an_answers_sheet_shows_every_answer_to_every_clip(num_answers: int, num_clips: int, times: int, scale: int):
    """One level per answer and clip; all of them, and as many pixels of each, are on the page."""
    levels = np.arange(num_answers * num_clips, dtype=np.uint8).reshape(num_answers, num_clips) * 17 + 30
    answers = {
        f"{number}": [np.full((5, 16, 16, 3), level, np.uint8) for level in row] for number, row in enumerate(levels)
    }
    sheet = answers_sheet(answers, num_times=times, scale=scale)
    pixels = min(times, 5) * (16 * scale) ** 2
    gray = sheet[(sheet == sheet[..., :1]).all(axis=-1)][:, 0]
    assert all((gray == level).sum() >= pixels for level in levels.ravel())


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"a": []},
        {"a": [np.zeros((2, 8, 8, 3), np.uint8)], "b": [np.zeros((3, 8, 8, 3), np.uint8)]},
        {"a": [np.zeros((2, 8, 8, 3), np.uint8)], "b": []},
    ],
)
def test_answers_to_other_clips_are_refused(answers: dict[str, list[np.ndarray]]):
    with pytest.raises(ValueError, match="same clips"):
        answers_sheet(answers)
