"""The evaluation at the end of a run: fixed test clips, self- and cross-driven, scored beside the trivial answers.

Scores by ground truth come first; the metrics of the field stand beside them."""

import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from directanimator.atomic import atomic_write, write_json
from directanimator.cues.preview import cue_strip, cues_in_color
from directanimator.cues.triplet import dropped
from directanimator.data.spec import Subset
from directanimator.data.version import SYNTH_VERSION
from directanimator.digests import SHORT
from directanimator.errors import UserError
from directanimator.metrics.catalog import Role
from directanimator.metrics.clip_folder import Clip
from directanimator.metrics.clip_scores import CLIP_SCORES_VERSION
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
from directanimator.video import write_video
from experiments.evaluation.clips import Scores, TestClip, generate_clips, make_test_clips, means_of, scored
from experiments.evaluation.measures import means, measured
from experiments.evaluation.sheet import SheetRow, comparison_video, contact_sheet
from experiments.evaluation.worst_clips import WORST, WORST_JUDGED, merged, rankings_of, worst_of
from experiments.record import RunDirectory
from experiments.spec import ExperimentSpec

NUM_SHEET_ROWS = 10
SHEET_SIDE = 128
"""Smaller frames are enlarged to it on sheets."""
NUM_VIDEOS = 6
GALLERY = "worst_clips.html"
GALLERY_FROM_REPORT = f"../{GALLERY}"
IN_MEMORY = "none, in memory"
"""How the pixels of test clips were read: not at all, neither the model's nor the true ones."""

_AGAIN = "remove it, and the run is evaluated again"


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
        trivial={name: scored(clips, [answer[name] for answer in answers]) for name in answers[0]},
        ceiling=scored(clips, decoded),
    )


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
        scores[subset] = scored(chosen, generated)
        bounds[subset] = bounds_of(chosen, codec)
        _write_media(media, subset, chosen, generated, spec)
        names = [f"{subset}_{index:02d}" for index in range(len(chosen))]
        measurement = measured(_in_roles(names, chosen, generated, spec), networks)
        found[subset] = record(measurement)
        summary[subset] = means_of(scores[subset]) | means(measurement)
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
        "protocol": protocol_of(spec).model_dump(mode="json"),
        "sampling": sampled(spec),
        "networks": list(networks),
        "seed": spec.seed,
        "targets": {subset: digest_of(chosen) for subset, chosen in clips.items()},
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


def digest_of(clips: Sequence[TestClip]) -> str:
    """Twelve hexadecimal digits of all pixels and words that the scores of these clips rest on."""
    found = hashlib.sha256()
    for clip in clips:
        for pixels in (clip.item.target, clip.item.reference, clip.driving):
            found.update(f"{pixels.shape}".encode() + pixels.tobytes())
        found.update(clip.item.caption.encode())
    return found.hexdigest()[:SHORT]


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
    wanted = {"sampling": sampled(spec), "protocol": protocol_of(spec).model_dump(mode="json")}
    asked = found.get("networks", [])
    known = set(asked) if isinstance(asked, list) else set()
    return known.issuperset(networks) and all(found.get(key) == value for key, value in wanted.items())


def sampled(spec: ExperimentSpec) -> dict[str, object]:
    """How answers are sampled; what is not in the spec stands where an older way gave others."""
    words = {"words": "captions"} if spec.model.text_encoder != "none" else {}
    noise = {"noise_of_steps": "by clip"} if spec.sampling.scheduler == "dpm" else {}
    return {**spec.sampling.model_dump(mode="json"), **words, **noise}


def protocol_of(spec: ExperimentSpec) -> Protocol:
    """How the scores of clips are measured: only what is measured alike may be compared."""
    data = spec.data
    return Protocol(
        metric="clip_scores",
        version=CLIP_SCORES_VERSION,
        size=data.size,
        fps=data.fps,
        frames=data.num_frames,
        clips=data.num_test_clips,
        source=data.source if data.source == "folder" else f"{data.source} {SYNTH_VERSION}",
        split=spec.evaluation.split,
    )


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
    _write_image(directory / f"{subset}_sheet.png", contact_sheet(rows, scale=max(1, SHEET_SIDE // spec.data.size)))
    for index, row in enumerate(rows[:NUM_VIDEOS]):
        write_video(directory / f"{subset}_{index:02d}.mp4", comparison_video(row), spec.data.fps)
    strip = cue_strip(rows[0].driving, clips[0].driving_mask, rows[0].cues)
    write_video(directory / f"{subset}_cues.mp4", strip, spec.data.fps)


def _write_image(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    atomic_write(path, lambda draft: Image.fromarray(image).save(draft))
