"""Fixed evaluation subsets of the test split; what belongs to one is decided by ground truth, and listed in a file.

A subset draws an endless row of candidates by index, and keeps those that pass its test: their indices are in
`subsets.json`, written by `python -m directanimator.data.synthetic subsets`."""

import dataclasses
import functools
import json
from importlib import resources
from typing import get_args

import numpy as np

from directanimator.data.spec import Subset
from directanimator.data.synthetic.clip import RenderedClip, render_clip
from directanimator.data.synthetic.ground_truth import GroundTruth
from directanimator.data.synthetic.identity import identity_at
from directanimator.data.synthetic.keypoints import COCO_17, other_side
from directanimator.data.synthetic.mirror import Twin, flattened, twin_of
from directanimator.data.synthetic.motion import Kind, Motion, make_motion, motion_at
from directanimator.data.synthetic.occluder import occluder_at
from directanimator.data.synthetic.pair import SyntheticPair, driving_window, frontal_time
from directanimator.data.synthetic.scene import View, scene_at
from directanimator.data.synthetic.splits import NUM_IDENTITIES, NUM_MOTIONS, random_stream
from directanimator.data.synthetic.timeline import DURATION
from directanimator.data.version import SYNTH_VERSION
from directanimator.errors import UserError, did_you_mean

SUBSET_CLIPS = 32
"""Members of each subset."""
CANDIDATE_STRIDE = 1_000_000
"""Candidates that each subset may draw."""
SUBSETS_FILE = "subsets.json"

PROBE_TIMES = np.arange(0.5, DURATION - 0.25, 0.5)
"""Seconds at which a candidate is looked at."""
PROBE_SIZE = 96

HIDDEN_JOINTS, HIDDEN_FRAMES = 0.25, 1 / 3
"""occlusion: at least this share of the joints within the frame is hidden, in at least this share of frames."""
BEHIND_FRAMES = 1 / 3
"""complex: the back is turned in at least this share of frames, unless kind or speed decide."""
FAST_SHARE = 0.3
"""complex: the fastest motions of the split, unless kind or back decide."""
STRONG, STRONG_FRAMES = 0.6, 1 / 3
"""face: some expression is at least this strong, in at least this share of frames."""
FACE_FRAMES = 0.9
TWIN_PIXELS: dict[Twin, float] = {"depth": 0.5, "back": 3.0}
"""ambiguous: joints of the twins lie closer than this, in pixels at 128 pixels a side. Bodies are not quite symmetric,
so those of back twins cannot agree to less than about two pixels."""
VISIBLE_CHANGE, TWIN_CHANGE = 0.1, 0.1
"""ambiguous: at least TWIN_CHANGE of the people's pixels differ by VISIBLE_CHANGE of full scale."""
_SEEN = 0.03
"""Share of the frame that a person takes at least, on the mean."""
_COMPLEX_KINDS: tuple[Kind, ...] = ("complex", "dance_turn")
_TWINS: tuple[Twin, ...] = ("depth", "back")


def check_subset(subset: str) -> None:
    """Nothing, when the subset is known.

    Raises: UserError otherwise."""
    legal = get_args(Subset)
    if subset not in legal:
        raise UserError(f"synthetic subset {subset!r}: legal are {', '.join(legal)}{did_you_mean(subset, legal)}")


@functools.cache
def _members() -> dict[str, list[int]]:
    content = json.loads(resources.files(__package__).joinpath(SUBSETS_FILE).read_text())
    if content["version"] != SYNTH_VERSION:
        raise UserError(
            f"{SUBSETS_FILE} is of data version {content['version']}, this is {SYNTH_VERSION}: "
            "write it again with: python -m directanimator.data.synthetic subsets"
        )
    members: dict[str, list[int]] = content["members"]
    return members


def subset_pair(subset: Subset, index: int, num_frames: int, fps: float) -> SyntheticPair:
    """The pair of a member of a subset.

    Of `ambiguous`, members 2 k and 2 k + 1 are twins: same people, same scenes, same skeleton to the camera.

    Raises: UserError for an unknown subset, an index outside it, or a window that leaves no room for a reference."""
    check_subset(subset)
    if not 0 <= index < SUBSET_CLIPS:
        raise UserError(f"synthetic subset {subset} index {index}: legal are 0 to {SUBSET_CLIPS - 1}")
    if subset == "ambiguous":
        return candidate_pair(subset, _members()[subset][index // 2], num_frames, fps, is_twin=index % 2 == 1)
    return candidate_pair(subset, _members()[subset][index], num_frames, fps)


def _upright_view(rng: np.random.Generator, subset: Subset) -> View:
    if subset == "face":
        return "bust"
    views: tuple[View, ...] = ("half", "full")
    return views[int(rng.integers(len(views)))]


def _motion(rng: np.random.Generator, subset: Subset) -> Motion:
    if subset == "face":
        return make_motion(rng, "grimace" if rng.random() < 0.5 else "talk", "test", int(rng.integers(2**31)))
    if subset == "ambiguous":
        return flattened(make_motion(rng, "gesture", "test", int(rng.integers(2**31))))
    return motion_at("test", int(rng.integers(NUM_MOTIONS["test"])))


def candidate_pair(subset: Subset, candidate: int, num_frames: int, fps: float, is_twin: bool = False) -> SyntheticPair:
    """The pair of a candidate of a subset, member or not.

    Raises: UserError for a window that leaves no room for a reference."""
    rng = random_stream("candidate", "test", get_args(Subset).index(subset) * CANDIDATE_STRIDE + candidate)
    person = int(rng.integers(NUM_IDENTITIES["test"]))
    other = (person + 1 + int(rng.integers(NUM_IDENTITIES["test"] - 1))) % NUM_IDENTITIES["test"]
    scenes = [scene_at("test", int(rng.integers(2**31))) for _ in range(2)]
    view, motion = _upright_view(rng, subset), _motion(rng, subset)
    times = driving_window(rng, num_frames, fps)
    reference_time = frontal_time(rng, motion, float(times[0]), float(times[-1]))
    things = [occluder_at("test", int(rng.integers(2**31)), view) for _ in range(int(rng.integers(0, 3)))]
    in_front_of_both = bool(rng.random() < 0.5)
    kind = _TWINS[candidate % 2]
    is_self = subset == "self"
    hides = subset == "occlusion"
    return SyntheticPair(
        identity=identity_at("test", person),
        driver=identity_at("test", person if is_self else other),
        motion=twin_of(motion, kind) if is_twin else motion,
        scene=scenes[0],
        driver_scene=scenes[0] if is_self else scenes[1],
        view=view,
        reference_time=reference_time,
        times=times,
        occluders=tuple(things) if hides and in_front_of_both else (),
        driver_occluders=tuple(things) if hides else (),
        projection="orthographic" if subset == "ambiguous" else "perspective",
    )


def render_driver(pair: SyntheticPair, times: np.ndarray, size: int) -> RenderedClip:
    """The driver of a pair with the points of its ground truth."""
    return render_clip(
        pair.driver,
        pair.motion,
        pair.driver_scene,
        times,
        size,
        pair.view,
        supersample=1,
        layers=(),
        occluders=pair.driver_occluders,
        projection=pair.projection,
    )


def _truth(clip: RenderedClip) -> GroundTruth:
    if clip.truth is None:
        raise ValueError("the clip was rendered without ground truth")
    return clip.truth


def hidden_share(clip: RenderedClip) -> np.ndarray:
    """(f,) share of the COCO points within the frame that are not seen; 1 where none is within."""
    points, size = _truth(clip).coco, clip.frames.shape[1]
    inside = ((points.xy >= 0) & (points.xy < size)).all(-1)
    hidden = (inside & ~points.visible).sum(1)
    return np.asarray(np.where(inside.any(1), hidden / np.maximum(inside.sum(1), 1), 1.0))


@functools.cache
def speed_of(motion: Motion) -> float:
    """Mean change of the limbs' unit directions per second."""
    steps = np.diff(motion.track.directions, axis=0)
    return float(np.linalg.norm(steps, axis=-1).mean() * (len(motion.track.yaw) - 1) / DURATION)


@functools.cache
def _fast() -> float:
    speeds = [speed_of(motion_at("test", index)) for index in range(NUM_MOTIONS["test"])]
    return float(np.quantile(speeds, 1 - FAST_SHARE))


def _is_complex(pair: SyntheticPair, clip: RenderedClip) -> bool:
    behind = (_truth(clip).facing < 0).mean() >= BEHIND_FRAMES
    return bool(pair.motion.kind in _COMPLEX_KINDS or speed_of(pair.motion) >= _fast() or behind)


def _is_expressive(clip: RenderedClip) -> bool:
    truth = _truth(clip)
    strongest = np.concatenate([truth.expression, truth.accent], 1).max(1)
    seen = np.isfinite(clip.face_box).all(1)
    return bool((strongest >= STRONG).mean() >= STRONG_FRAMES and seen.mean() >= FACE_FRAMES)


def joint_distance(clip: RenderedClip, twin: RenderedClip, kind: Twin) -> float:
    """The farthest that a point of the body lies from its twin's, in frame sides; sides swapped for back twins."""
    body = slice(5, 17)
    first, second = _truth(clip).coco.xy, _truth(twin).coco.xy
    if kind == "back":
        second = second[:, other_side(COCO_17)]
    return float(np.linalg.norm(first[:, body] - second[:, body], axis=-1).max() / clip.frames.shape[1])


def picture_change(clip: RenderedClip, twin: RenderedClip) -> float:
    """Share of the pixels with either person that differ visibly."""
    either = (clip.mask > 127) | (twin.mask > 127)
    change = np.abs(clip.frames.astype(np.int16) - twin.frames).max(-1)
    return float((change[either] >= 255 * VISIBLE_CHANGE).mean())


def _has_twin(pair: SyntheticPair, clip: RenderedClip, candidate: int) -> bool:
    kind = _TWINS[candidate % 2]
    twin = render_driver(dataclasses.replace(pair, motion=twin_of(pair.motion, kind)), PROBE_TIMES, PROBE_SIZE)
    near = joint_distance(clip, twin, kind) < TWIN_PIXELS[kind] / 128
    return near and picture_change(clip, twin) >= TWIN_CHANGE


def belongs(subset: Subset, candidate: int) -> bool:
    """Whether a candidate is what its subset is about, by the ground truth of its driver."""
    pair = candidate_pair(subset, candidate, 1, 8.0)
    clip = render_driver(pair, PROBE_TIMES, PROBE_SIZE)
    if (clip.mask > 127).mean() < _SEEN:
        return False
    if subset == "occlusion":
        return bool((hidden_share(clip) >= HIDDEN_JOINTS).mean() >= HIDDEN_FRAMES)
    if subset == "complex":
        return _is_complex(pair, clip)
    if subset == "face":
        return _is_expressive(clip)
    if subset == "ambiguous":
        return _has_twin(pair, clip, candidate)
    return True


def find_members(subset: Subset, count: int) -> list[int]:
    """The first candidates that belong to a subset, ascending; of `ambiguous`, as many depth twins as back twins.

    Raises: UserError if too few of the candidates belong."""
    found: list[int] = []
    per_kind = {kind: 0 for kind in range(len(_TWINS))}
    for candidate in range(40 * count):
        kind = candidate % len(_TWINS)
        full = subset == "ambiguous" and per_kind[kind] >= count // len(_TWINS)
        if not full and belongs(subset, candidate):
            found.append(candidate)
            per_kind[kind] += 1
        if len(found) == count:
            return found
    raise UserError(f"synthetic subset {subset}: only {len(found)} of {40 * count} candidates belong, {count} wanted")


def all_members() -> dict[str, list[int]]:
    """The members of every subset; pairs of twins count once."""
    return {
        subset: find_members(subset, SUBSET_CLIPS // (2 if subset == "ambiguous" else 1)) for subset in get_args(Subset)
    }
