"""Work is done only where something is drawn, and nobody can tell."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.data.synthetic import (
    OutlinedClip,
    View,
    identity_at,
    motion_at,
    outline_clip,
    render_clip,
    scene_at,
)
from directanimator.data.synthetic.camera import Projection
from directanimator.data.synthetic.occluder import occluder_at
from directanimator.data.synthetic.window import Window
from directanimator.errors import UserError

SIDE = 24
instants = st.lists(st.floats(0, 6), min_size=1, max_size=4)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """Of a frame of SIDE x SIDE, with something in it."""
    (top, bottom), (left, right) = (
        sorted(draw(st.tuples(st.integers(0, SIDE), st.integers(0, SIDE)).filter(lambda ends: ends[0] != ends[1])))
        for _ in range(2)
    )
    return Window(top, bottom, left, right)


def shot_of(
    person: int, motion: int, size: int, view: View, supersample: int, things: int, projection: Projection
) -> dict[str, Any]:
    """What `render_clip` and `outline_clip` are asked for alike, but for the times."""
    return {
        "identity": identity_at("test", person),
        "motion": motion_at("test", motion),
        "scene": scene_at("test", person),
        "size": size,
        "view": view,
        "supersample": supersample,
        "occluders": tuple(occluder_at("test", index, view) for index in range(things)),
        "projection": projection,
    }


choices = st.fixed_dictionaries(
    {
        "person": st.integers(0, 5),
        "motion": st.integers(0, 95),
        "size": st.sampled_from((24, 33)),
        "view": st.sampled_from(("full", "half", "bust")),
        "supersample": st.integers(1, 3),
        "things": st.integers(0, 2),
        "projection": st.sampled_from(("perspective", "orthographic")),
    }
)


def covered(window: Window) -> np.ndarray:
    """(SIDE, SIDE) where the window is."""
    cells = np.zeros((SIDE, SIDE), bool)
    cells[window.slices] = True
    return cells


@given(windows(), windows())
def test_windows_joined_are_the_smallest_around_both(first: Window, second: Window) -> None:
    joined, both = covered(first.joined(second)), covered(first) | covered(second)
    assert (joined >= both).all()
    np.testing.assert_array_equal(np.flatnonzero(joined.any(0))[[0, -1]], np.flatnonzero(both.any(0))[[0, -1]])
    np.testing.assert_array_equal(np.flatnonzero(joined.any(1))[[0, -1]], np.flatnonzero(both.any(1))[[0, -1]])


@given(windows())
def test_nothing_joined_with_a_window_is_that_window(window: Window) -> None:
    nothing = Window.empty(SIDE)
    assert not covered(nothing).any()
    assert nothing.joined(window) == window == window.joined(nothing)
    assert Window.whole(SIDE).joined(window) == Window.whole(SIDE)


@given(windows(), st.sampled_from((1, 2, 3, 4)))
def test_pixels_of_a_window_are_those_with_a_sample_in_it(window: Window, supersample: int) -> None:
    side = SIDE // supersample
    touched = covered(window).reshape(side, supersample, side, supersample).any((1, 3))
    pixels = window.in_pixels(supersample)
    expected = np.zeros((side, side), bool)
    expected[pixels.slices] = True
    np.testing.assert_array_equal(touched, expected)
    np.testing.assert_array_equal(
        covered(pixels.in_samples(supersample)), np.kron(touched, np.ones((supersample,) * 2))
    )


@given(choices, instants)
def test_a_frame_is_the_same_whatever_was_drawn_before_it(choice: dict[str, Any], times: list[float]) -> None:
    shot = shot_of(**choice)
    clip = render_clip(**shot, times=np.array(times), layers=("parts", "depth", "correspondence"))
    assert clip.truth is not None
    for frame, time in enumerate(times):
        alone = render_clip(**shot, times=np.array([time]), layers=("parts", "depth", "correspondence"))
        assert alone.truth is not None
        for name in ("frames", "mask", "face_box", "joints"):
            np.testing.assert_array_equal(getattr(clip, name)[frame], getattr(alone, name)[0], err_msg=name)
        for name in ("parts", "depth", "occluder", "person_box", "head_yaw"):
            np.testing.assert_array_equal(getattr(clip.truth, name)[frame], getattr(alone.truth, name)[0], err_msg=name)
        for points in ("coco", "landmarks"):
            together, single = getattr(clip.truth, points), getattr(alone.truth, points)
            np.testing.assert_array_equal(together.visible[frame], single.visible[0], err_msg=points)


@given(choices, instants)
def test_an_outline_is_that_of_the_rendered_clip(choice: dict[str, Any], times: list[float]) -> None:
    shot = shot_of(**choice)
    rendered, outline = (make(**shot, times=np.array(times)) for make in (render_clip, outline_clip))
    assert isinstance(outline, OutlinedClip)
    for name in ("mask", "face_box", "joints"):
        np.testing.assert_array_equal(getattr(outline, name), getattr(rendered, name), err_msg=name)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"view": "hlaf"}, "hlaf.*half"),
        ({"size": 0}, "size 0"),
        ({"supersample": 9}, "supersample 9"),
        ({"projection": "flat"}, "flat"),
        ({"times": np.zeros(0)}, "0 frames"),
    ],
)
def test_an_outline_is_refused_as_a_clip_is(wrong: dict[str, Any], told: str) -> None:
    view: View = "half"
    shot = {"identity": identity_at("test", 0), "motion": motion_at("test", 0), "scene": scene_at("test", 0)}
    legal = shot | {"times": np.zeros(1), "size": 32, "view": view}
    with pytest.raises(UserError, match=told):
        outline_clip(**(legal | wrong))  # type: ignore[arg-type]
