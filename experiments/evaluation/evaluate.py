"""The evaluation at the end of a run: fixed test clips, self- and cross-driven, scored beside the trivial answers.

Scores by ground truth come first; the metrics of the field stand beside them."""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from directanimator.atomic import atomic_write, write_json
from directanimator.cues.canvas import resize
from directanimator.cues.preview import cue_strip, cues_in_color
from directanimator.cues.spec import CueSpec, PosePicture
from directanimator.cues.triplet import DrivingCues, dropped
from directanimator.data.items import AnimationItem
from directanimator.data.spec import DataSpec, Subset
from directanimator.data.synthetic.subsets import SUBSET_CLIPS
from directanimator.errors import UserError
from directanimator.metrics.catalog import Role
from directanimator.metrics.clip_folder import Clip
from directanimator.metrics.clip_scores import CLIP_SCORES_VERSION, score_clip
from directanimator.metrics.gallery import GalleryClip, Ranking, write_gallery
from directanimator.metrics.protocol import Protocol
from directanimator.metrics.report import record, write_report
from directanimator.metrics.spec import NetworkName
from directanimator.metrics.trivial import (
    paint_driving_outline,
    paste_driving_frame,
    paste_driving_person,
    repeat_reference,
)
from directanimator.model.backbone import CueBackbone
from directanimator.model.codec import VideoCodec, to_frames, to_video
from directanimator.pipeline import generate
from directanimator.progress import progress
from directanimator.training.prepared import cue_latents, encode_cues, item_cues, without_disabled
from directanimator.video import write_video
from experiments.evaluation.measures import means, measured
from experiments.evaluation.sheet import SheetRow, comparison_video, contact_sheet
from experiments.evaluation.worst_clips import WORST, WORST_JUDGED, merged, rankings_of, worst_of
from experiments.pools import empty_text, item_maker, subset_item_maker
from experiments.record import RunDirectory
from experiments.spec import ExperimentSpec

NOISE_SEED = 20260605
"""Root of the sampler's noise: the same for every variant and seed, so that clips are paired."""
BATCH = 16
NUM_SHEET_ROWS = 10
NUM_VIDEOS = 6
GALLERY = "worst_clips.html"
GALLERY_FROM_REPORT = f"../{GALLERY}"
IN_MEMORY = "none, in memory"
"""How the pixels of test clips were read: not at all, neither the model's nor the true ones."""

_AGAIN = "remove it, and the run is evaluated again"

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


@functools.lru_cache(maxsize=len(get_args(Subset)))
def _test_items(spec: DataSpec, picture: PosePicture, named: Subset | None) -> tuple[AnimationItem, ...]:
    """The test items, or those of a named subset; kept, as what follows from them alone is, since both stages of a run
    and all variants of a demo are tested on the same."""
    if named is None:
        maker, count = item_maker("test", spec, picture), spec.num_test_clips
    else:
        maker, count = subset_item_maker(named, spec, picture), min(spec.num_test_clips, SUBSET_CLIPS)
    return tuple(maker(index) for index in progress(range(count), f"{named or 'test'} clips", total=count))


def make_test_clips(spec: ExperimentSpec) -> dict[Subset, tuple[TestClip, ...]]:
    """The fixed test clips by subset; the same for every variant that shares data and cues, be cues switched off."""
    return {subset: _test_clips(spec.data, spec.cues.all_enabled, subset) for subset in spec.evaluation.subsets}


@functools.lru_cache(maxsize=len(get_args(Subset)))
def _test_clips(data: DataSpec, cues: CueSpec, subset: Subset) -> tuple[TestClip, ...]:
    clips = []
    named: Subset | None = None if subset in ("self", "cross") else subset
    for item in _test_items(data, cues.pose.picture, named):
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


@torch.no_grad()
def generate_clips(
    model: CueBackbone, codec: VideoCodec, clips: Sequence[TestClip], spec: ExperimentSpec
) -> list[UInt8[np.ndarray, "f h w 3"]]:
    """The model's answers to test clips."""
    made: list[np.ndarray] = []
    empty = empty_text(spec.model)
    for start in progress(range(0, len(clips), BATCH), "sampling", total=math.ceil(len(clips) / BATCH)):
        part = clips[start : start + BATCH]
        told = [without_disabled(encode_cues(clip.cues, codec), spec.cues) for clip in part]
        references = torch.cat([codec.encode_reference(to_video(clip.item.reference)) for clip in part])
        shape = (spec.data.latent_frames, *references.shape[2:])
        noise = torch.stack([clip_noise(start + offset, shape) for offset in range(len(part))])
        with torch.autocast(model.device.type, torch.bfloat16, enabled=spec.optim.precision == "bf16"):
            text = empty.expand(len(part), -1, -1)
            video = generate(model, codec, references, text, cue_latents(told), noise, spec.sampling, empty)
        made.extend(to_frames(video))
    return made


def trivial_answers(clip: TestClip) -> dict[str, UInt8[np.ndarray, "f h w 3"]]:
    """What anyone could answer without a model."""
    reference = clip.item.reference
    return {
        "repeat_reference": repeat_reference(reference, len(clip.driving)),
        "paint_driving_outline": paint_driving_outline(
            clip.cues.body_location, reference, clip.item.reference_track.mask
        ),
        "paste_driving_frame": paste_driving_frame(clip.driving),
        "paste_driving_person": paste_driving_person(clip.driving, clip.driving_mask, reference),
    }


@dataclass(frozen=True)
class Bounds:
    """What a model is measured against: the scores of every trivial answer, and of the truth through the codec."""

    trivial: Mapping[str, Scores]
    ceiling: Scores


@functools.lru_cache(maxsize=len(get_args(Subset)))
def bounds_of(clips: tuple[TestClip, ...], codec: VideoCodec) -> Bounds:
    """The bounds of these very clips."""
    answers = [trivial_answers(clip) for clip in clips]
    decoded = [to_frames(codec.decode(codec.encode(to_video(clip.item.target))))[0] for clip in clips]
    return Bounds(
        trivial={name: _scored(clips, [answer[name] for answer in answers]) for name in answers[0]},
        ceiling=_scored(clips, decoded),
    )


def _scored(clips: Sequence[TestClip], answers: Sequence[UInt8[np.ndarray, "f h w 3"]]) -> Scores:
    return _numbered([clip.score(frames) for clip, frames in zip(clips, answers, strict=True)])


def evaluate(
    model: CueBackbone,
    codec: VideoCodec,
    spec: ExperimentSpec,
    run: RunDirectory,
    networks: Sequence[NetworkName] = (),
) -> None:
    """Nothing; writes evaluation.json, contact sheets, cue strips, videos and the failure gallery into the run.

    What needs no network is always measured, and what the `networks` say, with a report of its own."""
    clips = make_test_clips(spec)
    media = run.media / f"step_{_last_step(run):06d}"
    scores: dict[str, Scores] = {}
    bounds: dict[str, Bounds] = {}
    found: dict[str, dict[str, object]] = {}
    summary: dict[str, dict[str, float]] = {}
    worst: list[GalleryClip] = []
    count = WORST_JUDGED if networks else WORST
    ranked: list[list[Ranking]] = []
    for subset, chosen in clips.items():
        generated = generate_clips(model, codec, chosen, spec)
        scores[subset] = _scored(chosen, generated)
        bounds[subset] = bounds_of(chosen, codec)
        _write_media(media, subset, chosen, generated, spec)
        names = [f"{subset}_{index:02d}" for index in range(len(chosen))]
        measurement = measured(_in_roles(names, chosen, generated, spec), networks)
        found[subset] = record(measurement)
        summary[subset] = _means(scores[subset]) | means(measurement)
        ranked.append(rankings_of(names, scores[subset], measurement))
        shown = worst_of(ranked[-1], count)
        worst += [
            _gallery_clip(name, subset, clip, frames, spec)
            for name, clip, frames in zip(names, chosen, generated, strict=True)
            if name in shown
        ]
        if networks:
            write_report(media / f"{subset}_metrics", measurement, (), GALLERY_FROM_REPORT)
    write_gallery(media / GALLERY, worst, merged(ranked), count, title=f"Worst test clips, seed {spec.seed}")
    report = {
        "protocol": _protocol(spec).model_dump(mode="json"),
        "sampling": spec.sampling.model_dump(mode="json"),
        "networks": list(networks),
        "seed": spec.seed,
        "clips": scores,
        "trivial": {
            name: {subset: bound.trivial[name] for subset, bound in bounds.items()}
            for name in next(iter(bounds.values())).trivial
        },
        "ceiling": {subset: bound.ceiling for subset, bound in bounds.items()},
        "measured": found,
        "summary": summary,
    }
    write_json(run.evaluation_file, _without_nan(report))


def _in_roles(
    names: Sequence[str],
    clips: Sequence[TestClip],
    generated: Sequence[UInt8[np.ndarray, "f h w 3"]],
    spec: ExperimentSpec,
) -> dict[str, dict[Role, Clip]]:
    """The clips as metrics want them. The target is the truth of every pixel, so no driver is compared with."""
    fps = spec.data.fps
    return {
        name: {
            "generated": Clip(frames, fps, IN_MEMORY),
            "target": Clip(clip.item.target, fps, IN_MEMORY),
            "reference": Clip(clip.item.reference, None, IN_MEMORY),
        }
        for name, clip, frames in zip(names, clips, generated, strict=True)
    }


def _gallery_clip(
    name: str, subset: str, clip: TestClip, generated: UInt8[np.ndarray, "f h w 3"], spec: ExperimentSpec
) -> GalleryClip:
    cues = cues_in_color(dropped(clip.cues, spec.cues))
    reference, target = clip.item.reference, clip.item.target
    return GalleryClip(name, generated, target, reference, clip.driving, cues, spec.data.fps, subset)


def read_evaluation(run: RunDirectory) -> dict[str, object]:
    """The run's evaluation as it was written.

    Raises: UserError if it is missing or damaged."""
    try:
        found = json.loads(run.evaluation_file.read_bytes())
    except (OSError, ValueError) as problem:
        raise UserError(f"{run.evaluation_file} cannot be read ({problem}); {_AGAIN}") from problem
    if not isinstance(found, dict):
        raise UserError(f"{run.evaluation_file} does not hold an evaluation; {_AGAIN}")
    return found


def is_evaluated(run: RunDirectory, spec: ExperimentSpec, networks: Sequence[NetworkName] = ()) -> bool:
    """Whether the run holds an evaluation by this very sampler and protocol, and by these networks at least."""
    if not run.evaluation_file.exists():
        return False
    found = read_evaluation(run)
    wanted = {"sampling": spec.sampling.model_dump(mode="json"), "protocol": _protocol(spec).model_dump(mode="json")}
    asked = found.get("networks", [])
    known = set(asked) if isinstance(asked, list) else set()
    return known.issuperset(networks) and all(found.get(key) == value for key, value in wanted.items())


def _protocol(spec: ExperimentSpec) -> Protocol:
    data = spec.data
    return Protocol(
        metric="clip_scores",
        version=CLIP_SCORES_VERSION,
        size=data.size,
        fps=data.fps,
        frames=data.num_frames,
        clips=data.num_test_clips,
        source=data.source,
        split="test",
    )


def _numbered(scores: Scores) -> Scores:
    return [{"clip": float(index), **values} for index, values in enumerate(scores)]


def _means(scores: Scores) -> dict[str, float]:
    names = [name for name in scores[0] if name != "clip"]
    columns = {name: np.array([values[name] for values in scores]) for name in names}
    return {name: float(np.nanmean(c)) if np.isfinite(c).any() else math.nan for name, c in columns.items()}


def _without_nan(value: object) -> object:
    """JSON has no NaN: a score that a clip does not have is null."""
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _last_step(run: RunDirectory) -> int:
    return max((record.step for record in run.metrics.read()), default=0)


def _write_media(
    directory: Path,
    subset: Subset,
    clips: Sequence[TestClip],
    generated: Sequence[UInt8[np.ndarray, "f h w 3"]],
    spec: ExperimentSpec,
) -> None:
    rows = [
        SheetRow(clip.item.reference, clip.driving, dropped(clip.cues, spec.cues), frames, clip.item.target, str(index))
        for index, (clip, frames) in enumerate(zip(clips[:NUM_SHEET_ROWS], generated, strict=False))
    ]
    _write_image(directory / f"{subset}_sheet.png", contact_sheet(rows))
    for index, row in enumerate(rows[:NUM_VIDEOS]):
        write_video(directory / f"{subset}_{index:02d}.mp4", comparison_video(row), spec.data.fps)
    strip = cue_strip(rows[0].driving, clips[0].driving_mask, rows[0].cues)
    write_video(directory / f"{subset}_cues.mp4", strip, spec.data.fps)


def _write_image(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    atomic_write(path, lambda draft: Image.fromarray(image).save(draft))
