"""Ground truth on request: it agrees with the picture, with itself, and with what must be so."""

import dataclasses
import functools
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.data.synthetic import (
    NUM_IDENTITIES,
    NUM_MOTIONS,
    Motion,
    RenderedClip,
    Split,
    View,
    identity_at,
    motion_at,
    render_clip,
    scene_at,
)
from directanimator.data.synthetic.asset import LANDMARK_VERTICES, load_asset
from directanimator.data.synthetic.camera import Projection
from directanimator.data.synthetic.face import ACCENTS, EXPRESSIONS
from directanimator.data.synthetic.ground_truth import PART_NAMES, GroundTruth, Layer, optical_flow
from directanimator.data.synthetic.keypoints import COCO_17, MIRRORED_LANDMARKS, OPENPOSE_18, other_side
from directanimator.data.synthetic.mirror import flattened, mirrored_motion, mirrored_scene, twin_of
from directanimator.data.synthetic.motion import KIND_WEIGHTS, Kind, facing, make_motion, with_face
from directanimator.data.synthetic.occluder import OccluderKind, make_occluder, occluder_at
from directanimator.data.synthetic.primitives import block
from directanimator.data.synthetic.skeleton import Honesty, draw_skeleton, skeleton_of
from directanimator.errors import UserError

LAYERS: tuple[Layer, ...] = get_args(Layer)
people = st.integers(0, 5)
motions = st.integers(0, 40)
instants = st.floats(0.1, 5.9)
views: st.SearchStrategy[View] = st.sampled_from(get_args(View))


def rendered(
    person: int = 0,
    motion: Motion | int = 0,
    view: View = "half",
    size: int = 48,
    times: tuple[float, ...] = (1.0, 3.5),
    split: Split = "test",
    **options: object,
) -> RenderedClip:
    track = motion_at(split, motion) if isinstance(motion, int) else motion
    settings: dict[str, object] = {"layers": LAYERS, "supersample": 2} | options
    return render_clip(
        identity_at(split, person), track, scene_at("test", person), np.array(times), size, view, **settings
    )


def truth_of(clip: RenderedClip) -> GroundTruth:
    assert clip.truth is not None
    return clip.truth


def calm() -> Motion:
    """Someone who stands with the arms down and faces the camera."""
    track = motion_at("test", 0).track
    rest = np.array([[0.1, -1, 0.1], [-0.1, -1, 0.1]] * 2 + [[0.05, -1, 0], [-0.05, -1, 0]] * 2)
    rest /= np.linalg.norm(rest, axis=1, keepdims=True)
    zero = {name: np.zeros_like(getattr(track, name)) for name in ("expression", "accent", "gaze", "hop", "sway")}
    standing = dataclasses.replace(track, directions=np.broadcast_to(rest, track.directions.shape), **zero)
    return facing(dataclasses.replace(motion_at("test", 0), track=standing), 0.0)


# ---------------------------------------------------------------- layers


@given(people, motions, views, instants)
def test_the_part_map_is_empty_exactly_where_the_mask_is(person: int, motion: int, view: View, time: float) -> None:
    clip = rendered(person, motion, view, times=(time,))
    truth = truth_of(clip)
    there = clip.mask > 0
    np.testing.assert_array_equal(truth.parts > 0, there)
    for layer in (truth.depth, truth.normals[..., 0], truth.correspondence.canonical[..., 0]):
        np.testing.assert_array_equal(np.isfinite(layer), there)
    np.testing.assert_array_equal(truth.correspondence.triangle >= 0, there)
    assert truth.parts.max() < len(PART_NAMES)


@given(people, motions)
def test_depth_lies_near_the_joints_and_normals_face_the_camera(person: int, motion: int) -> None:
    truth = truth_of(rendered(person, motion, "full"))
    depth = truth.depth[np.isfinite(truth.depth)]
    assert 4.2 - truth.joints_position[..., 2].max() - 0.5 < depth.min()
    assert depth.max() < 4.2 - truth.joints_position[..., 2].min() + 0.5
    normals = truth.normals[np.isfinite(truth.normals[..., 0])]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    # interpolated normals of the outline turn away: a few of the 50 pixels that the smallest person has
    assert (normals[:, 2] > -0.35).mean() > 0.94


def test_parts_are_where_they_belong_on_someone_who_stands() -> None:
    truth = truth_of(rendered(1, calm(), "full", size=128, times=(1.0,)))
    height = {name: np.nonzero(truth.parts[0] == row)[0] for row, name in enumerate(PART_NAMES)}
    means = [height[name].mean() for name in ("face", "top", "bottom", "shoe")]
    assert means == sorted(means)
    assert len(height["hair"]) > 0
    assert height["hair"].min() <= height["face"].min()


@given(people, motions)
def test_a_layer_that_was_not_asked_for_is_not_there_and_the_picture_is_the_same(person: int, motion: int) -> None:
    bare, full = rendered(person, motion, layers=None), rendered(person, motion)
    assert bare.truth is None
    some = truth_of(rendered(person, motion, layers=("depth",)))
    assert some.parts is None
    assert some.normals is None
    assert some.correspondence is None
    np.testing.assert_array_equal(some.depth, truth_of(full).depth)
    for name in ("frames", "mask", "face_box", "background", "joints"):
        np.testing.assert_array_equal(getattr(bare, name), getattr(full, name))


# ---------------------------------------------------------------- correspondence


@given(people, motions, st.floats(0.1, 5.7))
def test_flow_leads_to_the_same_place_of_the_body(person: int, motion: int, time: float) -> None:
    truth = truth_of(rendered(person, motion, size=64, times=(time, time + 0.1)))
    flow, seen = optical_flow(truth, 0, truth, 1)
    rows, columns = np.nonzero(seen)
    place = truth.correspondence.place[0][rows, columns] + flow[rows, columns]
    there = truth.correspondence.canonical[1][place[:, 1].astype(int), place[:, 0].astype(int)]
    here = truth.correspondence.canonical[0][rows, columns]
    assert len(rows) > 50
    assert np.median(np.linalg.norm(there - here, axis=1)) < 0.03


@given(people, motions)
def test_flow_to_the_same_frame_is_zero(person: int, motion: int) -> None:
    truth = truth_of(rendered(person, motion, times=(2.0,)))
    flow, seen = optical_flow(truth, 0, truth, 0)
    there = truth.parts[0] > 0
    np.testing.assert_allclose(flow[there], 0, atol=1e-3)
    assert np.isnan(flow[~there]).all()
    assert seen[there].mean() > 0.9
    assert not seen[~there].any()


@given(motions)
def test_correspondence_leads_from_one_person_to_the_same_place_of_another(motion: int) -> None:
    here, there = (truth_of(rendered(person, motion, "full", size=96, times=(2.0,))) for person in (1, 2))
    flow, seen = optical_flow(here, 0, there, 0)
    rows, columns = np.nonzero(seen)
    place = here.correspondence.place[0][rows, columns] + flow[rows, columns]
    found = there.correspondence.canonical[0][place[:, 1].astype(int), place[:, 0].astype(int)]
    assert len(rows) > 100
    gap = np.linalg.norm(found - here.correspondence.canonical[0][rows, columns], axis=1)
    assert np.median(gap) < 0.05


def test_flow_without_the_layers_it_needs_is_refused() -> None:
    full, bare = truth_of(rendered()), truth_of(rendered(layers=()))
    with pytest.raises(ValueError, match="needs the layer"):
        optical_flow(full, 0, bare, 0)


# ---------------------------------------------------------------- points


@given(people, motions, views, instants)
def test_points_that_are_seen_lie_on_the_person(person: int, motion: int, view: View, time: float) -> None:
    clip = rendered(person, motion, view, size=64, times=(time,))
    truth = truth_of(clip)
    for points in (truth.coco, truth.openpose, truth.landmarks):
        x, y = points.xy[0][points.visible[0]].astype(int).T
        near = [clip.mask[0][max(0, b - 2) : b + 3, max(0, a - 2) : a + 3].any() for a, b in zip(x, y, strict=True)]
        assert all(near)


@given(people, people, motions, instants)
def test_joints_of_a_cross_pair_agree_in_direction_and_lie_in_both_masks(
    person: int, other: int, motion: int, time: float
) -> None:
    bones = [("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")]
    rows = [[COCO_17.index(f"{side}_{end}") for end in bone] for bone in bones for side in ("left", "right")]
    directions = []
    for who in (person, other):
        clip = rendered(who, motion, "full", size=96, times=(time,))
        points = truth_of(clip).coco
        limbs = np.array([points.position[0][end] - points.position[0][start] for start, end in rows])
        directions.append(limbs / np.linalg.norm(limbs, axis=1, keepdims=True))
        size = clip.frames.shape[1]
        inside = points.xy[0][5:][((points.xy[0][5:] > 1) & (points.xy[0][5:] < size - 1)).all(1)]
        lit = clip.mask[0][inside[:, 1].astype(int), inside[:, 0].astype(int)]
        assert (lit > 0).mean() > 0.85
    np.testing.assert_allclose(directions[0], directions[1], atol=1e-4)


def test_both_orders_name_the_same_points() -> None:
    truth = truth_of(rendered(2, 5))
    for name in COCO_17:
        for field in ("xy", "position", "visible"):
            first = getattr(truth.coco, field)[:, COCO_17.index(name)]
            np.testing.assert_array_equal(first, getattr(truth.openpose, field)[:, OPENPOSE_18.index(name)])
    assert set(OPENPOSE_18) - set(COCO_17) == {"neck"}


@given(people, st.floats(-0.3, 0.3))
def test_a_back_view_hides_the_face_and_a_front_view_shows_it(person: int, turn: float) -> None:
    front = truth_of(rendered(person, facing(calm(), turn), "bust", size=96, times=(1.0,)))
    back = truth_of(rendered(person, facing(calm(), np.pi + turn), "bust", size=96, times=(1.0,)))
    assert not back.landmarks.visible[:, 17:].any()
    assert back.landmarks.visible.sum() < 9  # past the neck, one side of the jaw may be seen
    assert front.landmarks.visible.mean() > 0.6
    assert front.coco.visible[0, 0]
    assert not back.coco.visible[0, :3].any()
    assert front.facing[0] > 0.7
    assert back.facing[0] < -0.7
    assert front.head_yaw[0] < 0.8 < 2.3 < back.head_yaw[0]


@given(people)
def test_someone_who_faces_the_camera_has_the_left_side_on_the_right_of_the_picture(person: int) -> None:
    truth = truth_of(rendered(person, calm(), times=(1.0,)))
    xy = dict(zip(COCO_17, truth.coco.xy[0], strict=True))
    for part in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        assert xy[f"left_{part}"][0] > xy[f"right_{part}"][0]
    assert xy["nose"][1] > xy["left_eye"][1]
    jaw, eyes, mouth = truth.landmarks.xy[0][:17], truth.landmarks.xy[0][36:48], truth.landmarks.xy[0][48:]
    assert (np.diff(jaw[:, 0]) > 0).all()
    assert eyes[:6, 0].max() < eyes[6:, 0].min()
    assert eyes[:, 1].max() < mouth[:, 1].min()
    assert jaw[8, 1] > mouth[:, 1].max()


def test_landmarks_of_the_two_sides_are_mirror_images() -> None:
    asset = load_asset()
    points = asset.mean_vertices[list(LANDMARK_VERTICES)]
    np.testing.assert_allclose(points[MIRRORED_LANDMARKS] * [-1, 1, 1], points, atol=2e-3)
    assert len(set(LANDMARK_VERTICES)) == 68


@given(people, motions, views)
def test_the_person_box_is_tight(person: int, motion: int, view: View) -> None:
    clip = rendered(person, motion, view)
    for mask, (x0, y0, x1, y1) in zip(clip.mask, truth_of(clip).person_box, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        np.testing.assert_allclose([x0, y0, x1, y1], [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], atol=0.51)


def test_an_arm_hides_what_is_behind_it() -> None:
    track = calm().track
    crossed = track.directions.copy()
    crossed[:, 0], crossed[:, 2] = np.array([0.1, -0.6, 0.8]), np.array([-0.95, -0.2, 0.25])
    crossed /= np.linalg.norm(crossed, axis=-1, keepdims=True)
    motion = facing(dataclasses.replace(calm(), track=dataclasses.replace(track, directions=crossed)), np.pi)
    back = truth_of(rendered(1, motion, "half", size=128, times=(1.0,)))
    assert not back.coco.visible[0, COCO_17.index("left_wrist")]
    assert truth_of(rendered(1, calm(), "half", size=128, times=(1.0,))).coco.visible[0, 5:11].all()


# ---------------------------------------------------------------- occluders


@given(people, motions, st.sampled_from(get_args(View)), st.integers(0, 30))
def test_an_occluder_takes_from_the_mask_and_adds_nothing_to_it(
    person: int, motion: int, view: View, index: int
) -> None:
    occluder = occluder_at("test", index, view)
    free, hidden = rendered(person, motion, view), rendered(person, motion, view, occluders=(occluder,))
    covered = truth_of(hidden).occluder
    assert (hidden.mask <= free.mask).all()
    assert (hidden.mask[covered == 255] == 0).all()
    np.testing.assert_array_equal(hidden.mask[covered == 0], free.mask[covered == 0])
    np.testing.assert_array_equal(hidden.frames[covered == 0], free.frames[covered == 0])
    np.testing.assert_array_equal(hidden.background, free.background)
    assert not truth_of(free).occluder.any()
    assert truth_of(hidden).coco.visible.sum() <= truth_of(free).coco.visible.sum()


@given(people, st.floats(0.6, 1.5), st.floats(0.02, 0.4))
def test_the_nearer_occluder_wins(person: int, far: float, gap: float) -> None:
    def wall(z: float, color: tuple[float, float, float]):
        return make_occluder("box", [(block((3.0, 3.0, 0.01), (0.0, 1.0, z)), color)])

    red, blue = wall(far, (1.0, 0.0, 0.0)), wall(far + gap, (0.0, 0.0, 1.0))
    for order in ((red, blue), (blue, red)):
        clip = rendered(person, calm(), occluders=order, times=(1.0,))
        assert (clip.frames[..., 2] > clip.frames[..., 0]).all()
        assert not clip.mask.any()
    behind = rendered(person, calm(), occluders=(wall(-2.0, (1.0, 0.0, 0.0)),), times=(1.0,))
    np.testing.assert_array_equal(behind.mask, rendered(person, calm(), times=(1.0,)).mask)
    assert np.isnan(truth_of(clip).person_box).all()
    assert not truth_of(clip).coco.visible.any()


def test_all_kinds_of_occluders_are_drawn() -> None:
    assert {occluder_at("test", index, "half").kind for index in range(40)} == set(get_args(OccluderKind))


# ---------------------------------------------------------------- mirrors and twins


@given(people, motions, instants, views)
def test_in_a_mirror_the_other_side_does_the_same(person: int, motion: int, time: float, view: View) -> None:
    """Up to a few centimeters: the two sides of a body are not quite alike."""
    identity, scene, track = identity_at("test", person), scene_at("test", person), motion_at("test", motion)
    size, times = 64, np.array([time])
    plain = render_clip(identity, track, scene, times, size, view, layers=("parts",))
    mirror = render_clip(identity, mirrored_motion(track), mirrored_scene(scene), times, size, view, layers=("parts",))
    there = truth_of(mirror).coco.xy[:, other_side(COCO_17)] * [-1, 1] + [size, 0]
    np.testing.assert_allclose(truth_of(plain).coco.xy, there, atol={"full": 2.5, "half": 4.5, "bust": 9}[view])
    flipped = mirror.mask[:, :, ::-1]
    both = ((plain.mask > 127) & (flipped > 127)).sum() / ((plain.mask > 127) | (flipped > 127)).sum()
    assert both > {"full": 0.8, "half": 0.8, "bust": 0.7}[view]
    np.testing.assert_allclose(truth_of(mirror).facing, truth_of(plain).facing, atol=0.1)
    difference = np.abs(plain.frames.astype(int) - mirror.frames[:, :, ::-1])
    assert difference.mean() < 25


@given(motions)
def test_a_mirror_in_a_mirror_shows_the_motion(motion: int) -> None:
    track = motion_at("test", motion)
    twice = mirrored_motion(mirrored_motion(track)).track
    for field in dataclasses.fields(twice):
        np.testing.assert_array_equal(getattr(twice, field.name), getattr(track.track, field.name))


@given(people, motions, instants)
def test_depth_twins_share_their_joints_and_not_their_picture(person: int, motion: int, time: float) -> None:
    base = flattened(motion_at("test", motion))
    clips = [
        rendered(person, track, size=128, times=(time,), projection="orthographic")
        for track in (base, twin_of(base, "depth"))
    ]
    first, second = (truth_of(clip).coco for clip in clips)
    np.testing.assert_allclose(first.xy, second.xy, atol=0.5)
    deep = np.abs(base.pose(np.array([time])).directions[0, :4, 2]).max()
    if deep > 0.5:
        assert np.abs(first.position - second.position).max() > 0.15
        assert np.abs(clips[0].frames.astype(int) - clips[1].frames).max() > 25


@given(people, motions, instants)
def test_back_twins_share_their_joints_with_sides_swapped_and_show_the_back(
    person: int, motion: int, time: float
) -> None:
    """Up to a few centimeters: the two sides of a body are not quite alike."""
    base = flattened(motion_at("test", motion))
    front, back = (
        truth_of(rendered(person, track, "full", size=128, times=(time,), projection="orthographic"))
        for track in (base, twin_of(base, "back"))
    )
    swapped = back.coco.xy[:, other_side(COCO_17)]
    assert np.abs(front.coco.xy - swapped)[:, 5:].max() < 6
    assert front.facing[0] > 0.99
    assert back.facing[0] < -0.99


# ---------------------------------------------------------------- faces and motions


def expressing(weights: dict[str, float]) -> Motion:
    motion = calm()
    expression = np.tile([weights.get(name, 0.0) for name in EXPRESSIONS], (len(motion.track.yaw), 1))
    accent = np.tile([weights.get(name, 0.0) for name in ACCENTS], (len(motion.track.yaw), 1))
    return dataclasses.replace(motion, track=dataclasses.replace(motion.track, expression=expression, accent=accent))


@pytest.mark.parametrize("unit", [*EXPRESSIONS, *ACCENTS, "gaze"])
def test_a_face_unit_changes_pixels_at_the_face_alone(unit: str) -> None:
    clip, neutral = None, rendered(1, calm(), "bust", size=96, times=(1.0,))
    if unit == "gaze":
        looking = dataclasses.replace(calm().track, gaze=np.tile([0.5, 0.0], (len(calm().track.yaw), 1)))
        clip = rendered(1, dataclasses.replace(calm(), track=looking), "bust", size=96, times=(1.0,))
    else:
        clip = rendered(1, expressing({unit: 1.0}), "bust", size=96, times=(1.0,))
    rows, columns = np.nonzero((clip.frames[0] != neutral.frames[0]).any(-1))
    x0, y0, x1, y1 = clip.face_box[0]
    assert len(rows) > 0
    reach = 0.6 * (y1 - y0)  # brows pull at the scalp up to the crown, the jaw at the throat
    assert y0 - reach <= rows.min() <= rows.max() <= y1 + reach
    assert x0 - reach <= columns.min() <= columns.max() <= x1 + reach


def test_the_truth_tells_the_expression_that_is_shown() -> None:
    truth = truth_of(rendered(1, expressing({"jawOpen": 0.7, "cheekPuff": 0.4}), size=96))
    assert truth.expression[0, EXPRESSIONS.index("jawOpen")] == pytest.approx(0.7)
    assert truth.accent[0, ACCENTS.index("cheekPuff")] == pytest.approx(0.4)
    assert truth.identity.index == 1
    opened = truth.landmarks.xy[0][66, 1] - truth.landmarks.xy[0][62, 1]
    closed = truth_of(rendered(1, calm(), size=96)).landmarks.xy[0]
    assert opened > closed[66, 1] - closed[62, 1] + 0.7


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_of_motion_renders_without_nan(kind: Kind) -> None:
    motion = make_motion(np.random.default_rng(3), kind, "test", 0)
    clip = rendered(0, motion, "full", times=(0.0, 2.9, 6.0))
    assert np.isfinite(clip.joints).all()
    assert clip.mask.any((1, 2)).all()
    for field in dataclasses.fields(motion.track):
        assert np.isfinite(getattr(motion.track, field.name)).all()
    for weights in (motion.track.expression, motion.track.accent):
        assert 0 <= weights.min() <= weights.max() <= 1


def test_kinds_that_are_made_by_name_are_not_drawn_by_index() -> None:
    assert set(get_args(Kind)) - set(KIND_WEIGHTS) == {"talk", "grimace", "look_around"}
    drawn = {motion_at("train", index).kind for index in range(150)}
    assert drawn <= set(KIND_WEIGHTS)
    assert not any(motion_at("train", index).track.accent.any() for index in range(150))


def test_a_grimace_is_strong_in_all_the_face_and_talk_moves_the_mouth_often() -> None:
    def made(kind: Kind) -> list[Motion]:
        return [make_motion(np.random.default_rng(seed), kind, "test", 0) for seed in range(6)]

    def turns_of_the_jaw(motion: Motion) -> int:
        speed = np.diff(motion.track.expression[:, EXPRESSIONS.index("jawOpen")])
        return int((speed[1:] * speed[:-1] < 0).sum())

    usual = [motion_at("train", index) for index in range(20)]
    assert all((motion.track.accent.max(1) > 0.6).mean() > 0.2 for motion in made("grimace"))
    assert np.mean(list(map(turns_of_the_jaw, made("talk")))) > 2 * np.mean(list(map(turns_of_the_jaw, usual)))
    assert np.ptp(made("look_around")[0].track.gaze, axis=0).max() > 0.5


def test_a_face_can_be_put_on_another_body_in_motion() -> None:
    body, other = motion_at("test", 1), make_motion(np.random.default_rng(0), "grimace", "test", 0)
    from directanimator.data.synthetic.face import FaceTrack

    face = FaceTrack(other.track.expression, other.track.accent, other.track.gaze)
    both = with_face(body, face).track
    np.testing.assert_array_equal(both.expression, other.track.expression)
    np.testing.assert_array_equal(both.directions, body.track.directions)


# ---------------------------------------------------------------- splits


def test_no_two_splits_share_a_person_or_a_motion() -> None:
    splits: tuple[Split, ...] = get_args(Split)
    looks = [identity_at(split, index).look.tobytes() for split in splits for index in range(8)]
    tracks = [motion_at(split, index).track.directions.tobytes() for split in splits for index in range(60)]
    assert len(set(looks)) == len(looks)
    assert len(set(tracks)) == len(tracks)


def test_people_out_of_distribution_wear_what_nobody_else_does() -> None:
    splits: tuple[Split, ...] = ("train", "val", "test")
    usual = [identity_at(split, index) for split in splits for index in range(6)]
    ood = [identity_at("test_ood", index) for index in range(0, NUM_IDENTITIES["test_ood"], 4)]
    assert not {person.style for person in ood} & {person.style for person in usual}
    patterns = {int(person.textiles[row, 0]) for person in usual for row in (0, 1)}
    assert not {int(person.textiles[row, 0]) for person in ood for row in (0, 1)} & patterns


def test_motions_out_of_distribution_strike_poses_that_nobody_else_does() -> None:
    def arms(split: Split, count: int) -> np.ndarray:
        return np.concatenate([motion_at(split, index).track.directions[::10, [0, 2]] for index in range(count)])

    ood, usual = arms("test_ood", NUM_MOTIONS["test_ood"]).reshape(-1, 6), arms("train", 250).reshape(-1, 6)
    nearest = np.array([np.linalg.norm(usual - pose, axis=1).min() for pose in ood[::7]])
    own = np.array([np.linalg.norm(usual - pose, axis=1).min() for pose in arms("test", 30).reshape(-1, 6)[::7]])
    assert np.median(nearest) > 3 * np.median(own)


# ---------------------------------------------------------------- skeletons


@functools.cache
def turning() -> GroundTruth:
    clip = rendered(1, facing(motion_at("test", 3), np.pi), "full", times=tuple(np.linspace(0.1, 5.9, 60)), layers=())
    return truth_of(clip)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_an_exact_skeleton_is_the_truth() -> None:
    skeleton = skeleton_of(turning(), "exact", rng())
    np.testing.assert_array_equal(skeleton.xy, turning().openpose.xy)
    assert skeleton.known.all()
    assert skeleton.labelled


def test_an_unlabelled_skeleton_has_one_color_and_no_face() -> None:
    skeleton = skeleton_of(turning(), "unlabelled", rng())
    picture = draw_skeleton(skeleton, 48)
    assert (picture == picture[..., :1]).all()
    assert not skeleton.known[:, [0, 14, 15, 16, 17]].any()
    assert skeleton.known[:, 1:14].all()


def test_an_unlabelled_skeleton_does_not_tell_back_from_front() -> None:
    """The body's two sides are not quite alike, so the pictures are nearly and not wholly the same."""
    base = flattened(motion_at("test", 5))
    front, back = (
        draw_skeleton(
            skeleton_of(truth_of(rendered(1, track, "full", size=64, projection="orthographic")), "unlabelled", rng()),
            64,
        ).astype(int)
        for track in (base, twin_of(base, "back"))
    )
    other = draw_skeleton(
        skeleton_of(truth_of(rendered(1, motion_at("test", 6), "full", size=64)), "unlabelled", rng()), 64
    )
    assert np.abs(front - back).mean() < 0.35 * np.abs(front - other).mean()

    walker = truth_of(rendered(1, motion_at("test", 6), "full", size=64))
    other = draw_skeleton(skeleton_of(walker, "unlabelled", rng()), 64)
    truth, skeleton = turning(), skeleton_of(turning(), "detected", rng())
    straight = np.linalg.norm(skeleton.xy - truth.openpose.xy, axis=-1)
    swapped = np.linalg.norm(skeleton.xy - truth.openpose.xy[:, other_side(OPENPOSE_18)], axis=-1)
    is_swapped = swapped[:, 2:14].mean(1) < straight[:, 2:14].mean(1)
    assert 0.25 < is_swapped.mean() < 0.75
    error = np.where(is_swapped[:, None], swapped, straight)
    assert 0.05 < np.median(error) < 1
    assert 0.02 < 1 - skeleton.known[:, 1:14].mean() < 0.4
    assert not skeleton.known[:, 0].any()


def test_a_front_view_is_seldom_swapped() -> None:
    front = truth_of(
        rendered(1, facing(motion_at("test", 3), 0.0), "full", times=tuple(np.linspace(0.1, 5.9, 60)), layers=())
    )
    skeleton = skeleton_of(front, "detected", rng())
    straight = np.linalg.norm(skeleton.xy - front.openpose.xy, axis=-1)[:, 2:14].mean(1)
    assert (straight < 1.5).mean() > 0.9


@given(st.sampled_from(get_args(Honesty)), st.integers(16, 64))
def test_a_drawn_skeleton_lies_around_its_points(honesty: Honesty, size: int) -> None:
    truth = turning()
    skeleton = skeleton_of(truth, honesty, rng())
    scaled = dataclasses.replace(skeleton, xy=skeleton.xy[:2] * size / 48, known=skeleton.known[:2])
    picture = draw_skeleton(scaled, size)
    assert picture.shape == (2, size, size, 3)
    rows, columns = np.nonzero(picture[0].any(-1))
    known = scaled.xy[0][scaled.known[0]]
    reach = 0.012 * size + 2
    assert rows.min() >= known[:, 1].min() - reach
    assert columns.max() <= known[:, 0].max() + reach


# ---------------------------------------------------------------- any legal request, and illegal ones


@given(
    people,
    motions,
    views,
    st.integers(1, 40),
    st.integers(1, 3),
    st.sampled_from(get_args(Projection)),
    st.sets(st.sampled_from(LAYERS)),
    st.integers(0, 2),
)
def test_any_legal_request_renders_without_nan(
    person: int,
    motion: int,
    view: View,
    size: int,
    supersample: int,
    projection: Projection,
    layers: set[Layer],
    things: int,
) -> None:
    clip = rendered(
        person,
        motion,
        view,
        size,
        times=(2.0,),
        supersample=supersample,
        projection=projection,
        layers=layers,
        occluders=tuple(occluder_at("test", index, view) for index in range(things)),
    )
    truth = truth_of(clip)
    assert clip.frames.shape == (1, size, size, 3)
    assert np.isfinite(clip.joints).all()
    for points in (truth.coco, truth.openpose, truth.landmarks):
        assert np.isfinite(points.xy).all()
        assert np.isfinite(points.position).all()
    assert np.abs(truth.facing) <= 1


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"view": "bustt"}, r"view 'bustt': legal are full, half, bust; did you mean 'bust'"),
        ({"projection": "ortographic"}, r"projection 'ortographic': .*did you mean 'orthographic'"),
        ({"layers": ("depht",)}, r"ground truth 'depht': .*did you mean 'depth'"),
        ({"size": 0}, r"size 0: legal are 1 to 2048"),
        ({"size": 5000}, r"size 5000: legal are 1 to 2048"),
        ({"supersample": 0}, r"supersample 0: legal are 1 to 8"),
        ({"times": ()}, r"0 frames"),
        ({"times": (6.5,)}, r"legal are 0 to 6"),
    ],
)
def test_an_illegal_request_is_refused_by_name(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        rendered(**wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("unchecked_shapes")
def test_an_unknown_split_or_honesty_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"split 'tests': .*did you mean 'test'"):
        scene_at("tests", 0)
    with pytest.raises(UserError, match=r"'detekted': .*did you mean 'detected'"):
        skeleton_of(turning(), "detekted", rng())


def digest() -> str:
    """What a fixed clip with everything looks like."""
    import hashlib

    clip = rendered(3, 7, size=24, occluders=(occluder_at("test", 4, "half"),))
    truth = truth_of(clip)
    fields = [truth.parts, truth.depth, truth.normals, truth.correspondence.place, truth.coco.xy, truth.landmarks.xy]
    fields += [clip.frames, clip.mask, truth.occluder, skeleton_of(truth, "detected", rng()).xy]
    return hashlib.sha256(b"".join(np.ascontiguousarray(field).tobytes() for field in fields)).hexdigest()


def test_ground_truth_is_the_same_bytes_in_another_process() -> None:
    code = f"import runpy; print(runpy.run_path({__file__!r})['digest']())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == digest() == digest()
