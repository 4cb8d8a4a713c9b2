"""The same clips and the same noise, by every variant of a table: what the numbers look like."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from directanimator.model.embedded import make_codec
from directanimator.model.precision import device_kind
from directanimator.places import runs_root
from experiments.evaluation.clips import TestClip, generate_clips, make_test_clips
from experiments.evaluation.sheet import Clip, answers_sheet
from experiments.record import RunDirectory
from experiments.spec import ExperimentSpec
from experiments.stage import trained_model
from experiments.tables.plan import Plan, PlannedRun
from experiments.tracking.mirror import files_digest

NUM_CLIPS = 3
MIN_FRAME = 100
"""Least side of a frame on the sheet, in pixels."""


def variant_sheet(plan: Plan) -> UInt8[np.ndarray, "h w 3"]:
    """The first test clips: reference, driving video and target, then what each variant's first seed makes of them.

    Raises: UserError if a model is missing or damaged."""
    runs = _shown_runs(plan)
    codec = make_codec(runs[0].spec.model, tiling=True, device=device_kind())
    device = torch.device(device_kind())
    size = runs[0].spec.data.size
    first = _shown_clips(runs[0].spec)
    answers: dict[str, list[Clip]] = {
        "reference": [np.repeat(clip.item.reference, len(clip.driving), axis=0) for clip in first],
        "driving video": [clip.driving for clip in first],
        "target": [clip.item.target for clip in first],
    }
    for run in runs:
        model = trained_model(RunDirectory(runs_root() / run.stage("cross_id")), run.spec)
        model.to(device)  # type: ignore[arg-type]  # diffusers' wrapper hides the signature
        answers[run.variant] = generate_clips(model, codec, _shown_clips(run.spec), run.spec)
    return answers_sheet(answers, scale=math.ceil(MIN_FRAME / size))


def shown_weights(plan: Plan) -> dict[str, str | None]:
    """What a sheet is made from: by run, a digest of names, sizes and times of its weights; None if it has none."""
    directories = [RunDirectory(runs_root() / run.stage("cross_id")) for run in _shown_runs(plan)]
    return {directory.path.name: files_digest(directory.model) for directory in directories}


def _shown_runs(plan: Plan) -> list[PlannedRun]:
    return [plan.run(name, plan.seeds[0]) for name in plan.variants]


def _shown_clips(spec: ExperimentSpec) -> Sequence[TestClip]:
    """Cross-driven where there are such clips."""
    clips = make_test_clips(spec)
    return clips.get("cross", next(iter(clips.values())))[:NUM_CLIPS]
