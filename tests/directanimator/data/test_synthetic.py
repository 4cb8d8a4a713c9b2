"""Synthetic humans: reproducible, true to their ground truth, and the same motion on every body."""

import dataclasses
import hashlib
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.data.synthetic import (
    NUM_IDENTITIES,
    Motion,
    RenderedClip,
    Split,
    View,
    identity_at,
    motion_at,
    pair_at,
    render_clip,
    scene_at,
)
from directanimator.data.synthetic import asset as asset_module
from directanimator.data.synthetic.asset import load_asset
from directanimator.data.synthetic.face import EXPRESSIONS
from directanimator.data.synthetic.kinematics import euler, pose_skeleton, rotation_between
from directanimator.data.synthetic.motion import LIMBS, facing
from directanimator.data.synthetic.splits import Domain, random_stream
from directanimator.data.synthetic.timeline import DURATION
from directanimator.errors import UserError

SPLITS: tuple[Split, ...] = get_args(Split)
DOMAINS: tuple[Domain, ...] = get_args(Domain)
BONES = (
    ("upperarm_l", "lowerarm_l"),
    ("upperarm_r", "lowerarm_r"),
    ("lowerarm_l", "hand_l"),
    ("lowerarm_r", "hand_r"),
    ("thigh_l", "calf_l"),
    ("thigh_r", "calf_r"),
    ("calf_l", "foot_l"),
    ("calf_r", "foot_r"),
)
few_people = st.integers(0, 5)
motion_indices = st.integers(0, 95)
instants = st.floats(0, DURATION)
vectors = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1)


def expressing(motion: Motion, unit: str | None) -> Motion:
    """The motion with one face unit at full strength, or none."""
    expression = np.zeros_like(motion.track.expression)
    if unit is not None:
        expression[:, EXPRESSIONS.index(unit)] = 1
    return dataclasses.replace(motion, track=dataclasses.replace(motion.track, expression=expression))


def render(
    person: int = 0,
    motion: Motion | int = 0,
    size: int = 48,
    view: View = "half",
    frames: int = 3,
    supersample: int = 1,
) -> RenderedClip:
    """A clip of the test split."""
    track = motion_at("test", motion) if isinstance(motion, int) else motion
    times = np.linspace(0.5, 5.0, frames)
    return render_clip(identity_at("test", person), track, scene_at("test", person), times, size, view, supersample)


def digest() -> str:
    """What a fixed clip looks like, as a hash of all that is rendered."""
    clip = render(person=3, motion=7, size=32, frames=2)
    parts = (clip.frames, clip.mask, clip.face_box, clip.background, clip.joints)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def dilated(mask: np.ndarray, reach: int) -> np.ndarray:
    """True within `reach` pixels of the mask."""
    padded = np.pad(mask, reach)
    size, span = len(mask), range(2 * reach + 1)
    return np.any([padded[y : y + size, x : x + size] for y in span for x in span], axis=0)


def test_the_same_index_renders_the_same_bytes_in_another_process() -> None:
    first = digest()
    identity_at.cache_clear()
    assert digest() == first
    code = f"import runpy; print(runpy.run_path({__file__!r})['digest']())"
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert second.stdout.strip() == first


@given(few_people, motion_indices)
def test_outside_the_mask_a_frame_is_its_background(person: int, motion: int) -> None:
    clip = render(person, motion)
    outside = clip.mask == 0
    same = (clip.frames == clip.background).all(-1)
    assert same[outside].all()
    assert same[clip.mask == 255].mean() < 0.05
    assert (clip.mask == 255).mean() > 0.02


def test_the_shadow_darkens_the_frame_but_not_the_background() -> None:
    clip = render(view="full", size=64)
    change = clip.frames.astype(int) - clip.background
    outside = np.where((clip.mask == 0)[..., None], change, 0)
    assert outside.max() <= 0
    assert outside.min() < -10
    assert not outside[:, :40].any()


@given(motion_indices, instants)
def test_two_bodies_point_their_limbs_the_same_way(motion: int, time: float) -> None:
    pose, asset = motion_at("test", motion).pose(np.array([time])), load_asset()
    directions = []
    for person in (identity_at("test", 1), identity_at("test", 2)):
        joints = pose_skeleton(person.joints, person.alignment, pose).positions[0]
        bones = np.array([joints[asset.joint(end)] - joints[asset.joint(start)] for start, end in BONES])
        directions.append(bones / np.linalg.norm(bones, axis=1, keepdims=True))
    np.testing.assert_allclose(directions[0], directions[1], atol=1e-3)


def test_a_body_that_faces_the_camera_points_its_limbs_as_the_motion_says() -> None:
    motion, person, asset = facing(motion_at("test", 4), 0.0), identity_at("test", 1), load_asset()
    pose = motion.pose(np.array([2.0]))
    joints = pose_skeleton(person.joints, person.alignment, pose).positions[0]
    ends = dict(BONES)
    bones = np.array([joints[asset.joint(ends[limb])] - joints[asset.joint(limb)] for limb in LIMBS])
    np.testing.assert_allclose(bones / np.linalg.norm(bones, axis=1, keepdims=True), pose.directions[0], atol=1e-3)


@given(st.sampled_from(SPLITS), st.integers(0, 20), st.integers(2, 17))
def test_a_pair_shows_two_people_and_a_reference_outside_the_driving_window(
    split: Split, index: int, frames: int
) -> None:
    pair = pair_at(split, index, frames, 8.0)
    assert pair.identity.index != pair.driver.index
    assert pair.scene.index != pair.driver_scene.index
    assert 0 <= pair.reference_time <= DURATION
    assert pair.reference_time <= pair.times[0] - 0.299 or pair.reference_time >= pair.times[-1] + 0.299
    assert 0 <= pair.times[0] <= pair.times[-1] <= DURATION
    np.testing.assert_allclose(np.diff(pair.times), 1 / 8, atol=1e-9)


@given(st.integers(0, 500), st.integers(0, 500))
def test_no_two_splits_or_domains_share_a_random_stream(first: int, second: int) -> None:
    keys = {(domain, split, index) for domain in DOMAINS for split in SPLITS for index in (first, second)}
    draws = {random_stream(domain, split, index).integers(2**63) for domain, split, index in keys}
    assert len(draws) == len(keys)


@pytest.mark.parametrize("unit", ["jawOpen", "eyeBlinkLeft", "mouthSmileRight", "browInnerUp"])
def test_an_expression_changes_only_pixels_at_the_face(unit: str) -> None:
    motion = facing(motion_at("test", 0), 0.0)
    neutral, moved = (render(2, expressing(motion, name), size=64, view="bust", frames=1) for name in (None, unit))
    changed = (neutral.frames[0] != moved.frames[0]).any(-1)
    x0, y0, x1, y1 = moved.face_box[0]
    rows, columns = np.nonzero(changed)
    assert len(rows) > 0
    assert y0 - 3 <= rows.min() <= rows.max() <= y1 + 2  # the brows, at the top of the box, draw the forehead along
    assert x0 - 2 <= columns.min() <= columns.max() <= x1 + 2


@given(few_people, st.floats(-0.9, 0.9))
def test_a_face_has_a_box_from_the_front_and_none_from_behind(person: int, turn: float) -> None:
    motion = motion_at("test", 0)
    front, back = render(person, facing(motion, turn)), render(person, facing(motion, np.pi + turn))
    assert not np.isnan(front.face_box).any()
    assert np.isnan(back.face_box).all()


def test_a_face_box_lies_on_the_person_and_below_the_top_of_the_head() -> None:
    clip = render(1, facing(motion_at("test", 0), 0.2), size=64, view="bust")
    for box, mask in zip(clip.face_box, clip.mask, strict=True):
        x0, y0, x1, y1 = box.astype(int)
        assert 0.6 < (x1 - x0) / (y1 - y0) < 1.6
        assert (mask[y0:y1, x0:x1] > 0).mean() > 0.7
        assert np.flatnonzero(mask.any(1))[0] < y0


@given(few_people, motion_indices)
def test_joints_lie_on_the_mask(person: int, motion: int) -> None:
    clip = render(person, motion, size=64, view="full")
    for joints, mask in zip(clip.joints, clip.mask, strict=True):
        x, y = np.floor(joints[:, :2]).astype(int).T
        inside = (x >= 0) & (x < 64) & (y >= 0) & (y < 64)
        assert dilated(mask > 0, 2)[y[inside], x[inside]].mean() > 0.9


@given(motion_indices)
def test_two_bodies_stand_on_the_same_floor(motion: int) -> None:
    lowest = []
    for person in (1, 2):
        clip = render_clip(
            identity_at("test", person), motion_at("test", motion), scene_at("test", 0), np.array([2.0]), 64, "full", 1
        )
        lowest.append(np.flatnonzero(clip.mask[0].any(1))[-1])
    assert abs(int(lowest[0]) - int(lowest[1])) <= 3


def test_pixels_averaged_two_by_two_match_a_supersampled_frame() -> None:
    fine, coarse = render(size=64, supersample=1), render(size=32, supersample=2)
    averaged = fine.frames.reshape(3, 32, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(averaged - coarse.frames).mean() < 2
    np.testing.assert_allclose(fine.joints[..., :2] / 2, coarse.joints[..., :2], atol=1e-3)
    np.testing.assert_allclose(fine.face_box / 2, coarse.face_box, atol=1e-3)


@given(motion_indices, st.floats(0, DURATION - 0.01))
def test_a_motion_never_jumps(motion: int, time: float) -> None:
    pose = motion_at("test", motion).pose(np.array([time, time + 0.01]))
    for field in dataclasses.fields(pose):
        step = np.abs(np.diff(getattr(pose, field.name), axis=0)).max()
        assert step < 0.5, field.name


def test_most_motions_move_a_hand() -> None:
    moving = 0
    for index in range(96):
        forearms = motion_at("test", index).pose(np.linspace(1, 5, 33)).directions[:, 2:4]
        moving += np.ptp(forearms, axis=0).max() > 0.8
    assert moving >= 80


@given(few_people)
def test_people_have_ordinary_heights(person: int) -> None:
    identity = identity_at("test", person)
    assert 1.5 <= identity.height <= 1.9
    assert np.isfinite(identity.vertices).all()
    assert np.ptp(identity.vertices[:, 1]) == pytest.approx(identity.height, abs=0.12)


def test_identities_of_one_index_differ_between_splits() -> None:
    train, test = identity_at("train", 0), identity_at("test", 0)
    assert not np.allclose(train.joints, test.joints, atol=1e-3)
    assert not np.allclose(train.look, test.look, atol=1e-3)


@given(vectors, vectors)
def test_rotation_between_carries_start_to_end(start: tuple[float, ...], end: tuple[float, ...]) -> None:
    a, b = (np.array([v]) / np.linalg.norm(v) for v in (start, end))
    if (a * b).sum() > -0.999:
        np.testing.assert_allclose((rotation_between(a, b)[0] @ a[0]), b[0], atol=1e-9)


@given(vectors)
def test_euler_gives_rotations(angles: tuple[float, ...]) -> None:
    rotation = euler(np.array([angles]) * 3)[0]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


@pytest.mark.parametrize("index", [-1, NUM_IDENTITIES["test"]])
def test_an_index_outside_the_split_is_refused(index: int) -> None:
    with pytest.raises(UserError, match="legal are 0 to 63"):
        identity_at("test", index)


def test_times_outside_the_motion_are_refused() -> None:
    with pytest.raises(UserError, match="legal are 0 to 6"):
        motion_at("test", 0).pose(np.array([6.5]))


def test_a_window_without_room_for_a_reference_is_refused() -> None:
    with pytest.raises(UserError, match=r"below 5\.40 s"):
        pair_at("train", 0, 49, 8.0)


def test_a_damaged_asset_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asset_module, "ASSET_SHA256", "0" * 64)
    with pytest.raises(UserError, match="damaged"):
        load_asset.__wrapped__()
