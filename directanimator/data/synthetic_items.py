"""Synthetic humans as training and test items: a reference, a driving clip, and the true target of both.

Every person is rendered at twice the canvas (the driving video's own resolution, from which the face is cropped) and
shrunk to the canvas by area, so the model's frames are antialiased."""

import numpy as np

from directanimator.cues.canvas import resize
from directanimator.cues.person import LANDMARKS, PersonTrack
from directanimator.data.items import SOURCE_SCALE, AnimationItem
from directanimator.data.spec import DataSpec
from directanimator.data.synthetic import (
    DURATION,
    Identity,
    RenderedClip,
    Scene,
    Split,
    SyntheticPair,
    pair_at,
    render_clip,
)
from directanimator.data.synthetic.asset import load_asset

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


def track_of(clip: RenderedClip) -> PersonTrack:
    """The person as the ground truth knows it, with full score."""
    joints = [load_asset().joint(name) for name in JOINT_OF_LANDMARK.values()]
    return PersonTrack(clip.mask, clip.face_box, np.ones(len(clip.mask), np.float32), clip.joints[:, joints, :2])


def _at_canvas(clip: RenderedClip, size: int) -> tuple[np.ndarray, PersonTrack]:
    return resize(clip.frames, size), track_of(clip).resized(size)


def _render(pair: SyntheticPair, identity: Identity, scene: Scene, times: np.ndarray, size: int) -> RenderedClip:
    return render_clip(identity, pair.motion, scene, times, size * SOURCE_SCALE, pair.view, supersample=1)


def synthetic_item(split: Split, index: int, spec: DataSpec) -> AnimationItem:
    """The item of an index: the same bytes in every process."""
    pair = pair_at(split, index, spec.num_frames, spec.fps)
    own = _render(pair, pair.identity, pair.scene, pair.times, spec.size)
    still = _render(pair, pair.identity, pair.scene, np.array([pair.reference_time]), spec.size)
    driver = _render(pair, pair.driver, pair.driver_scene, pair.times, spec.size)
    survey = render_clip(
        pair.driver, pair.motion, pair.driver_scene, SURVEY_TIMES, spec.size // 2, pair.view, supersample=1
    )
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
        survey_track=track_of(survey),
    )


def synthetic_pixels(split: Split, index: int, spec: DataSpec) -> dict[str, np.ndarray]:
    """`target` (f h w 3) and `reference` (1 h w 3) alone: what pretraining without cues needs."""
    pair = pair_at(split, index, spec.num_frames, spec.fps)
    times = np.concatenate([pair.times, [pair.reference_time]])
    frames = resize(_render(pair, pair.identity, pair.scene, times, spec.size).frames, spec.size)
    return {"target": frames[:-1], "reference": frames[-1:]}
