"""Synthetic humans as training and test items: a reference, a driving clip, and the true target of both.

Every person is rendered at twice the canvas (the driving video's own resolution, from which the face is cropped) and
shrunk to the canvas by area, so the model's frames are antialiased."""

import dataclasses
from typing import get_args

import numpy as np

from directanimator.cues.canvas import resize
from directanimator.cues.person import LANDMARKS, PersonTrack
from directanimator.data.items import SOURCE_SCALE, AnimationItem
from directanimator.data.spec import DataSpec, Subset
from directanimator.data.synthetic import (
    DURATION,
    OutlinedClip,
    RenderedClip,
    Split,
    SyntheticPair,
    outline_clip,
    pair_at,
    render_clip,
)
from directanimator.data.synthetic.asset import load_asset
from directanimator.data.synthetic.degradation import degraded_frames, degraded_motion, leaked_identity
from directanimator.data.synthetic.skeleton import Honesty, draw_skeleton, skeleton_of
from directanimator.data.synthetic.splits import random_stream
from directanimator.data.synthetic.subsets import CANDIDATE_STRIDE, subset_pair

JOINT_OF_LANDMARK = dict(
    zip(
        LANDMARKS,
        [
            "head",
            *(f"{bone}_{side}" for bone in ("upperarm", "lowerarm", "hand", "thigh", "calf", "foot") for side in "lr"),
        ],
        strict=True,
    )
)
"""The synthetic skeleton's joint behind each landmark."""
SURVEY_TIMES = np.arange(0, DURATION, 0.25)
"""Seconds at which the whole driving video is surveyed."""


def track_of(clip: OutlinedClip) -> PersonTrack:
    """The person as the ground truth knows it, with full score."""
    joints = [load_asset().joint(name) for name in JOINT_OF_LANDMARK.values()]
    return PersonTrack(clip.mask, clip.face_box, np.ones(len(clip.mask), np.float32), clip.joints[:, joints, :2])


def _at_canvas(clip: RenderedClip, size: int) -> tuple[np.ndarray, PersonTrack]:
    return resize(clip.frames, size), track_of(clip).resized(size)


def _drawn(clip: RenderedClip, honesty: Honesty | None, rng: np.random.Generator) -> np.ndarray | None:
    """The skeleton of a clip rendered with its truth, in its own size."""
    if honesty is None:
        return None
    assert clip.truth is not None
    return draw_skeleton(skeleton_of(clip.truth, honesty, rng), clip.frames.shape[1])


def _render(pair: SyntheticPair, times: np.ndarray, size: int, with_truth: bool = False) -> RenderedClip:
    """The person of the target, at `size` pixels a side."""
    return render_clip(
        pair.identity,
        pair.motion,
        pair.scene,
        times,
        size,
        pair.view,
        supersample=1,
        layers=() if with_truth else None,
        occluders=pair.occluders,
        projection=pair.projection,
    )


def _render_driver(
    pair: SyntheticPair, times: np.ndarray, size: int, strength: float, with_truth: bool = False
) -> RenderedClip:
    """The driver, as bad as `strength` tells, at `size` pixels a side; what is known of a bad one is true of it."""
    clip = render_clip(
        pair.driver,
        pair.motion,
        pair.driver_scene,
        times,
        size,
        pair.view,
        supersample=1,
        layers=() if with_truth else None,
        occluders=pair.driver_occluders,
        projection=pair.projection,
    )
    return dataclasses.replace(clip, frames=degraded_frames(clip.frames, strength))


def _survey_driver(pair: SyntheticPair, size: int) -> PersonTrack:
    """The driver over the whole driving video, `size` pixels a side."""
    clip = outline_clip(
        pair.driver,
        pair.motion,
        pair.driver_scene,
        SURVEY_TIMES,
        size,
        pair.view,
        supersample=1,
        occluders=pair.driver_occluders,
        projection=pair.projection,
    )
    return track_of(clip)


def _with_bad_driver(pair: SyntheticPair, strength: float, rng: np.random.Generator) -> SyntheticPair:
    """The pair whose `motion` is the driver's own, which is not what the target does."""
    motion = degraded_motion(pair.motion, strength, rng)
    return dataclasses.replace(pair, motion=motion, driver=leaked_identity(pair.driver, pair.identity, strength))


def synthetic_item(split: Split, index: int, spec: DataSpec, skeletons: Honesty | None = None) -> AnimationItem:
    """The item of an index: the same bytes in every process; with skeletons, if so honest ones are asked for."""
    pair = pair_at(split, index, spec.num_frames, spec.fps)
    return _item(pair, spec, random_stream("degradation", split, index), skeletons)


def subset_item(subset: Subset, index: int, spec: DataSpec, skeletons: Honesty | None = None) -> AnimationItem:
    """The item of a member of an evaluation subset: the same bytes in every process; with skeletons, if asked for.

    Raises: UserError for an unknown subset or an index outside it."""
    pair = subset_pair(subset, index, spec.num_frames, spec.fps)
    member = (1 + get_args(Subset).index(subset)) * CANDIDATE_STRIDE + index
    return _item(pair, spec, random_stream("degradation", "test", member), skeletons)


def _item(
    pair: SyntheticPair, spec: DataSpec, rng: np.random.Generator, skeletons: Honesty | None = None
) -> AnimationItem:
    size, is_bad = spec.size * SOURCE_SCALE, spec.cue_quality == "pseudo"
    strength = spec.cue_strength if is_bad else 0.0
    driving_pair = _with_bad_driver(pair, strength, rng) if is_bad else pair
    detectors = rng.spawn(2)  # streams of their own: whoever asks for no skeleton has the same item
    own = _render(pair, pair.times, size, skeletons is not None)
    still = _render(pair, np.array([pair.reference_time]), size)
    driver = _render_driver(driving_pair, pair.times, size, strength, skeletons is not None)
    reference, reference_track = _at_canvas(still, spec.size)
    target, target_track = _at_canvas(own, spec.size)
    return AnimationItem(
        reference=reference,
        reference_track=reference_track,
        target=target,
        target_track=target_track,
        background=resize(own.background[None], spec.size)[0],
        own_frames=own.frames,
        own_track=track_of(own),
        driving=driver.frames,
        driving_track=track_of(driver),
        survey_track=_survey_driver(driving_pair, spec.size // 2),
        own_skeleton=_drawn(own, skeletons, detectors[0]),
        driving_skeleton=_drawn(driver, skeletons, detectors[1]),
    )


def synthetic_pixels(split: Split, index: int, spec: DataSpec) -> dict[str, np.ndarray]:
    """`target` (f h w 3) and `reference` (1 h w 3) alone: what pretraining without cues needs."""
    pair = pair_at(split, index, spec.num_frames, spec.fps)
    times = np.concatenate([pair.times, [pair.reference_time]])
    frames = resize(_render(pair, times, spec.size * SOURCE_SCALE).frames, spec.size)
    return {"target": frames[:-1], "reference": frames[-1:]}
