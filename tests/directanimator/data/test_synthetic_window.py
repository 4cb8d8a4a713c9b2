"""Work is done only where something is drawn, and nobody can tell."""

import dataclasses
import subprocess
import sys
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.data.synthetic import (
    DURATION,
    OutlinedClip,
    View,
    identity_at,
    motion_at,
    outline_clip,
    render_clip,
    scene_at,
)
from directanimator.data.synthetic.camera import Projection
from directanimator.data.synthetic.ground_truth import Layer, layer_arrays
from directanimator.data.synthetic.occluder import occluder_at
from directanimator.data.synthetic.window import Window
from directanimator.errors import UserError

SIDE = 24
LAYERS: tuple[Layer, ...] = get_args(Layer)
instants = st.lists(st.floats(0, DURATION), min_size=1, max_size=4)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """Of a frame of SIDE x SIDE, with something in it."""
    (top, bottom), (left, right) = (
        sorted(draw(st.tuples(st.integers(0, SIDE), st.integers(0, SIDE)).filter(lambda ends: ends[0] != ends[1])))
        for _ in range(2)
    )
    return Window(top, bottom, left, right)


def shot_of(
    person: int,
    motion: int,
    size: int,
    view: View,
    supersample: int,
    things: int,
    projection: Projection,
    shift: float,
) -> dict[str, Any]:
    """What `render_clip` and `outline_clip` are asked for alike, but for the times; shifted by 3 frame sides, the
    person is out of sight."""
    return {
        "identity": identity_at("test", person),
        "motion": motion_at("test", motion),
        "scene": dataclasses.replace(scene_at("test", person), camera_shift=(shift, 0.0)),
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
        "size": st.sampled_from((1, 24, 33)),
        "shift": st.sampled_from((0.0, 0.4, 3.0)),
        "view": st.sampled_from(("full", "half", "bust")),
        "supersample": st.sampled_from((1, 2, 3, 8)),
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
    clip = render_clip(**shot, times=np.array(times), layers=LAYERS)
    assert clip.truth is not None
    for frame, time in enumerate(times):
        alone = render_clip(**shot, times=np.array([time]), layers=LAYERS)
        assert alone.truth is not None
        for name in ("frames", "mask", "face_box", "joints"):
            np.testing.assert_array_equal(getattr(clip, name)[frame], getattr(alone, name)[0], err_msg=name)
        for name in ("parts", "depth", "normals", "occluder", "person_box", "facing", "head_yaw"):
            np.testing.assert_array_equal(getattr(clip.truth, name)[frame], getattr(alone.truth, name)[0], err_msg=name)
        for points in ("coco", "landmarks"):
            together, single = getattr(clip.truth, points), getattr(alone.truth, points)
            np.testing.assert_array_equal(together.visible[frame], single.visible[0], err_msg=points)
        same, one = clip.truth.correspondence, alone.truth.correspondence
        assert same is not None
        assert one is not None
        for name in ("canonical", "triangle", "bary", "place", "vertices"):
            np.testing.assert_array_equal(getattr(same, name)[frame], getattr(one, name)[0], err_msg=name)


def test_a_layer_costs_no_room_that_nobody_asked_for() -> None:
    planes = layer_arrays(num_frames=5, size=8, num_vertices=3, layers=("parts",))
    assert {name for name, plane in planes.items() if len(plane) == 5} == {"parts"}
    assert not {"normals", "canonical", "vertices"} & planes.keys()


@given(choices, instants)
def test_an_outline_is_that_of_the_rendered_clip(choice: dict[str, Any], times: list[float]) -> None:
    shot = shot_of(**choice)
    rendered, outline = (make(**shot, times=np.array(times)) for make in (render_clip, outline_clip))
    assert isinstance(outline, OutlinedClip)
    for name in ("mask", "face_box", "joints"):
        np.testing.assert_array_equal(getattr(outline, name), getattr(rendered, name), err_msg=name)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    "wrong",
    [
        {"view": "hlaf"},
        {"size": 0},
        {"supersample": 9},
        {"projection": "flat"},
        {"times": np.zeros(0)},
        {"times": np.full(1, DURATION + 1)},
    ],
)
def test_an_outline_is_refused_as_a_clip_is(wrong: dict[str, Any]) -> None:
    shot = {"identity": identity_at("test", 0), "motion": motion_at("test", 0), "scene": scene_at("test", 0)}
    legal: dict[str, Any] = shot | {"times": np.zeros(1), "size": 32, "view": "half"}
    refusals = []
    for make in (render_clip, outline_clip):
        with pytest.raises(UserError) as refused:
            make(**(legal | wrong))
        refusals.append(str(refused.value))
    assert refusals[0] == refusals[1]


@pytest.mark.parametrize("row", [-1, 10**6])
def test_a_mesh_whose_triangles_name_no_vertex_is_refused(row: int) -> None:
    for mesh in (occluder_at("test", 0, "full"), identity_at("test", 0)):
        triangles = mesh.triangles.copy()
        triangles[0, 0] = row
        with pytest.raises(ValueError, match="names a vertex that is not there"):
            dataclasses.replace(mesh, triangles=triangles)


def test_people_are_drawn_without_reading_specs() -> None:
    code = "import sys, directanimator.data.synthetic; print('pydantic' in sys.modules, 'numba' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "True"]
