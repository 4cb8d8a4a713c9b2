"""The fixed clips that every model is asked, its answers, and their scores by ground truth."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from jaxtyping import UInt8

from directanimator.cues.canvas import resize
from directanimator.cues.spec import CueSpec, PosePicture
from directanimator.cues.triplet import DrivingCues
from directanimator.data.items import AnimationItem
from directanimator.data.spec import DataSpec, Subset
from directanimator.data.synthetic import Split
from directanimator.data.synthetic.subsets import SUBSET_CLIPS
from directanimator.metrics.clip_scores import score_clip
from directanimator.model.backbone import CueBackbone
from directanimator.model.codec import VideoCodec, to_frames, to_video
from directanimator.model.precision import autocast
from directanimator.pipeline import generate
from directanimator.progress import progress
from directanimator.training.prepared import cue_latents, encode_cues, item_cues, without_disabled
from directanimator.training.sharding import is_sharded
from experiments.pools import item_maker, subset_item_maker, text_tokens
from experiments.spec import ExperimentSpec

NOISE_SEED = 20260605
"""Root of the sampler's noise: the same for every variant and seed, so that clips are paired."""
BATCH, BATCH_SIDE = 16, 64
"""Clips sampled at once, of frames of that side."""

KEPT = len(get_args(Subset)) + 2
"""Sets of clips that are kept: every subset, and the few that either stage shows while it is trained."""

Scores = list[dict[str, float]]


@dataclass(frozen=True, eq=False)
class TestClip:
    """A test item in one of the two settings, with the cues the model is told."""

    item: AnimationItem
    driving: UInt8[np.ndarray, "f h w 3"]
    driving_mask: UInt8[np.ndarray, "f h w"]
    cues: DrivingCues
    cross: bool

    def score(self, generated: UInt8[np.ndarray, "f h w 3"]) -> dict[str, float]:
        """The scores of an answer to this clip."""
        if self.cross:
            return score_clip(generated, self.item, self.driving, self.driving_mask)
        return score_clip(generated, self.item)


@functools.lru_cache(maxsize=KEPT)
def _test_items(
    spec: DataSpec, picture: PosePicture, named: Subset | None, split: Split
) -> tuple[AnimationItem, ...]:
    """The items of the split, or those of a named subset; kept, as what follows from them alone is, since both stages
    of a run and all variants of a demo are tested on the same."""
    if named is None:
        maker, count = item_maker(split, spec, picture), spec.num_test_clips
    else:
        maker, count = subset_item_maker(named, spec, picture), min(spec.num_test_clips, SUBSET_CLIPS)
    return tuple(maker(index) for index in progress(range(count), f"{named or split} clips", total=count))


def make_test_clips(spec: ExperimentSpec) -> dict[Subset, tuple[TestClip, ...]]:
    """The fixed test clips by subset; the same for every variant that shares data and cues, be cues switched off."""
    return {subset: clips_of(spec, subset) for subset in spec.evaluation.subsets}


def clips_of(spec: ExperimentSpec, subset: Subset) -> tuple[TestClip, ...]:
    """The fixed test clips of a subset."""
    return _test_clips(spec.data, spec.cues.all_enabled, subset, spec.evaluation.split)


@functools.lru_cache(maxsize=KEPT)
def _test_clips(data: DataSpec, cues: CueSpec, subset: Subset, split: Split) -> tuple[TestClip, ...]:
    clips = []
    named: Subset | None = None if subset in ("self", "cross") else subset
    for item in _test_items(data, cues.pose.picture, named, split):
        own, cross = item_cues(item, data.size, cues)
        if subset == "self":
            clips.append(TestClip(item, item.target, item.target_track.mask, own, cross=False))
        else:
            mask = item.driving_track.resized(data.size).mask
            clips.append(TestClip(item, resize(item.driving, data.size), mask, cross, cross=True))
    return tuple(clips)


def clip_noise(index: int, shape: tuple[int, ...]) -> torch.Tensor:
    """The sampler's noise for test clip `index`."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(NOISE_SEED + index))


def clips_at_once(side: int) -> int:
    """How many clips of frames of that side are sampled together: about as many pixels for every side, at least one."""
    return max(1, BATCH * BATCH_SIDE**2 // side**2)


def generate_clips(
    model: CueBackbone, codec: VideoCodec, clips: Sequence[TestClip], spec: ExperimentSpec
) -> list[UInt8[np.ndarray, "f h w 3"]]:
    """The model's answers to test clips, which are the first of their subset."""
    size = clips_at_once(spec.data.size)
    starts = progress(range(0, len(clips), size), "sampling", total=math.ceil(len(clips) / size))
    return [frames for start in starts for frames in answer(model, codec, clips[start : start + size], spec, start)]


@torch.no_grad()
def answer(
    model: CueBackbone, codec: VideoCodec, clips: Sequence[TestClip], spec: ExperimentSpec, first: int = 0
) -> UInt8[np.ndarray, "n f h w 3"]:
    """The model's answers to the clips of one batch; `first` is the number of its first clip in the subset."""
    text = text_tokens(spec.model, [clip.item.caption for clip in clips])
    empty = text_tokens(spec.model, [""])
    told = [without_disabled(encode_cues(clip.cues, codec), spec.cues) for clip in clips]
    references = torch.cat([codec.encode_reference(to_video(clip.item.reference)) for clip in clips])
    shape = (spec.model.padded(spec.data.latent_frames), *references.shape[2:])
    noise = torch.stack([clip_noise(first + offset, shape) for offset in range(len(clips))])
    with autocast(model.device.type, spec.optim.precision, keeps_casts=not is_sharded(model)):
        video = generate(model, codec, references, text, cue_latents(told), noise, spec.sampling, empty)
    return to_frames(video)


def scored(clips: Sequence[TestClip], answers: Sequence[UInt8[np.ndarray, "f h w 3"]]) -> Scores:
    """The scores of every answer, each with its clip's number."""
    return [
        {"clip": float(number), **clip.score(frames)}
        for number, (clip, frames) in enumerate(zip(clips, answers, strict=True))
    ]


def means_of(scores: Scores) -> dict[str, float]:
    """The mean of every score over the clips that have it; NaN where none does."""
    names = [name for name in scores[0] if name != "clip"]
    columns = {name: np.array([values[name] for values in scores]) for name in names}
    return {name: float(np.nanmean(c)) if np.isfinite(c).any() else math.nan for name, c in columns.items()}
