"""Who is followed when several people are seen. The nets are replaced by people who are known."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.cues.person import LANDMARKS
from directanimator.perception.following import Body, Follower, distinct, look_of
from directanimator.perception.region import Square

HEIGHT, WIDTH = 100, 200


@dataclass(frozen=True)
class Actor:
    """A person at a place, of a size and in clothes of one color (0..63)."""

    x: float
    side: float
    clothes: int

    def body(self) -> Body:
        center = np.array([self.x, 50], np.float32)
        region = Square.upright(center, float(self.side))
        look = np.full(64, 0.2 / 63, np.float32)
        look[self.clothes] = 0.8
        landmarks = np.tile(center, (len(LANDMARKS), 1))
        return Body(region, region, region, landmarks, np.ones((4, 4), np.float32), 0.9, look)


class Stage:
    """Sees the actors of each frame; of those that overlap, the one in front alone. The first pixel is the time."""

    def __init__(self, scenes: list[list[Actor]]) -> None:
        self.scenes = scenes
        self.finds = 0

    def _visible(self, frame: np.ndarray) -> list[Actor]:
        shown: list[Actor] = []
        for actor in self.scenes[int(frame[0, 0, 0])]:
            if all(abs(actor.x - other.x) > 0.3 * other.side for other in shown):
                shown.append(actor)
        return shown

    def find(self, frame, small):
        self.finds += 1
        return [actor.body() for actor in self._visible(frame)]

    def look(self, frame, region):
        near = [actor for actor in self._visible(frame) if abs(actor.x - region.center[0]) < region.side / 2]
        return min(near, key=lambda actor: abs(actor.x - region.center[0])).body() if near else None


def frames_of(scenes) -> list[np.ndarray]:
    frames = np.zeros((len(scenes), HEIGHT, WIDTH, 3), np.uint8)
    frames[:, 0, 0, 0] = np.arange(len(scenes))
    return list(frames)


def followed(scenes, box=None) -> list[int | None]:
    """The clothes of who is followed in each frame."""
    bodies = Follower(Stage(scenes), box).follow(frames_of(scenes))
    return [None if body is None else int(body.look.argmax()) for body in bodies]


@given(st.booleans(), st.booleans(), st.integers(20, 60))
def test_people_who_cross_are_not_exchanged(main_walks_right, stranger_in_front, count):
    """The main person, who is larger, walks one way; a stranger walks the other way and hides them, or not."""
    scenes = []
    for k in range(count):
        there = 20 + 160 * k / (count - 1)
        main = Actor(there if main_walks_right else WIDTH - there, 60, 5)
        stranger = Actor(WIDTH - main.x, 50, 9)
        scenes.append([stranger, main] if stranger_in_front else [main, stranger])
    told = followed(scenes)
    assert set(told) <= {5, None}
    assert told[0] == told[-1] == 5
    assert told.count(5) >= count / 2
    assert stranger_in_front or None not in told


@given(st.floats(20, 180), st.floats(20, 180), st.floats(40, 90), st.floats(20, 35))
def test_the_largest_is_chosen_and_of_equals_the_most_central(one, other, large, small):
    if abs(one - other) < 50:
        other = one + 60 if one < 100 else one - 60
    if abs(abs(one - 100) - abs(other - 100)) < 1:
        return
    central = 1 if abs(one - 100) < abs(other - 100) else 2
    assert followed([[Actor(100, small / 2, 2), Actor(20, large, 1)]]) == [1]
    assert followed([[Actor(one, 40, 1), Actor(other, 40, 2)]]) == [central]
    assert followed([[Actor(other, 40, 2), Actor(one, 40, 1)]]) == [central]


def test_a_box_chooses_whom_it_shows():
    scenes = [[Actor(50, 80, 1), Actor(150, 30, 2)]] * 3
    assert followed(scenes) == [1, 1, 1]
    assert followed(scenes, (0.65, 0.2, 0.85, 0.8)) == [2, 2, 2]
    assert followed([[Actor(50, 30, 1)]] * 2, (0.8, 0.2, 0.9, 0.8)) == [None, None]


@given(st.integers(1, 20), st.booleans())
def test_who_leaves_is_taken_up_again_and_nobody_else_instead(gone, stranger_stays):
    stranger = [Actor(150, 60, 9)] if stranger_stays else []
    scenes = [[Actor(60, 80, 5), *stranger]] * 2 + [stranger] * gone + [[Actor(60, 80, 5), *stranger]] * 2
    assert followed(scenes) == [5, 5] + [None] * gone + [5, 5]


def test_who_was_gone_for_minutes_is_taken_up_again():
    with_them, without = frames_of([[Actor(60, 80, 5)], []])
    frames = [with_them, *(without[:] for _ in range(4_000)), with_them[:]]
    *_, before, last = Follower(Stage([[Actor(60, 80, 5)], []])).follow(frames)
    assert before is None
    assert last is not None


def test_a_picture_that_is_shown_twice_is_looked_at_once():
    stage = Stage([[Actor(60, 80, 5)]])
    frame = frames_of(stage.scenes)[0]
    assert len(list(Follower(stage).follow([frame] * 5))) == 5
    assert stage.finds == 1


def test_whoever_keeps_still_is_searched_for_once():
    stage = Stage([[Actor(60, 80, 5)]] * 6)
    list(Follower(stage).follow(frames_of(stage.scenes)))
    assert stage.finds == 1


@given(st.integers(0, 2**32 - 1))
def test_a_look_is_a_histogram_of_what_is_inside(seed):
    rng = np.random.default_rng(seed)
    pixels, inside = rng.integers(0, 256, (32, 32, 3), np.uint8), rng.random((32, 32)) < 0.5
    look = look_of(pixels, inside)
    assert look.sum() == pytest.approx(1, abs=1e-5)
    other = pixels.copy()
    other[~inside] = 0
    np.testing.assert_array_equal(look, look_of(other, inside))


def test_one_body_that_is_found_twice_is_one():
    bodies = [Actor(60, 80, 5).body(), Actor(61, 82, 5).body(), Actor(150, 80, 5).body()]
    assert [body.region.center[0] for body in distinct(bodies)] == [60, 150]
