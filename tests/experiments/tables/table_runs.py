"""A table whose runs look finished, without any training: directories as runs leave them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from directanimator.metrics.protocol import MetricProtocol
from directanimator.places import runs_root
from experiments.evaluation.evaluate import protocol_of
from experiments.record import HELD_OUT_LOSS, RunDirectory
from experiments.spec import STAGES, WEIGHTS_TAG, Stage, stage_leaves, weights_fingerprint
from experiments.tables.plan import Plan, PlannedRun, make_plan

WORDS = ("table=same2x", "variants=no_same2x,student_from_base,student_from_base_no_same2x", "preset=smoke")
CLIPS = 4
MEASURED = ("l1", "fid_mobilenetv2")
"""A metric that has a value for each clip, and one that has a single value for all."""

BOUNDS = {"repeat_reference": 31.25, "paste_driving_frame": 32.25, "ceiling": 77.25}
"""Motion of the first clip, by answer without a model."""

Score = Callable[[PlannedRun, str, int], float | None]
"""Of a run, a `subset/metric` and a clip."""


def plan_of(*words: str) -> Plan:
    return make_plan([*WORDS, *words])


def noise(run: PlannedRun, column: str, clip: int) -> float:
    """A score that differs between runs, columns and clips."""
    return float(np.random.default_rng([run.seed, len(run.variant), len(column), clip]).normal(10, 1))


def claim(run: PlannedRun, stage: Stage) -> RunDirectory:
    leaves, tags = stage_leaves(run.spec, stage), {WEIGHTS_TAG: weights_fingerprint(run.spec)}
    return RunDirectory.claim(runs_root(), run.stage(stage), spec=leaves, tags=tags, experiment="test")


def finish(runs: Sequence[PlannedRun], score: Score = noise) -> None:
    """Nothing; leaves what finished runs leave."""
    for run in runs:
        for stage in STAGES:
            made = claim(run, stage)
            made.update(status="finished")
            (made.path / "model").mkdir(exist_ok=True)
            (made.path / "model/spec.json").write_text("{}")
            if not made.metrics.path.exists():
                for step in range(1, 5):
                    made.metrics.append(step, {"train/loss": 1.0, HELD_OUT_LOSS: 2.0 / step})
            made.evaluation_file.write_text(json.dumps(evaluation_of(run, score)))


def evaluation_of(run: PlannedRun, score: Score = noise) -> dict[str, object]:
    clips = {
        subset: [
            {"clip": float(clip)}
            | {metric: score(run, f"{subset}/{metric}", clip) for metric in ("psnr_foreground", "motion", "mask_iou")}
            for clip in range(CLIPS)
        ]
        for subset in ("self", "cross")
    }
    bounds = {
        name: {subset: [{"clip": float(clip), "motion": level + clip} for clip in range(CLIPS)] for subset in clips}
        for name, level in BOUNDS.items()
    }
    return {
        "protocol": protocol_of(run.spec).model_dump(mode="json"),
        "sampling": run.spec.sampling.model_dump(mode="json"),
        "seed": run.seed,
        "clips": clips,
        "trivial": {name: scores for name, scores in bounds.items() if name != "ceiling"},
        "ceiling": bounds["ceiling"],
        "measured": {subset: _measured(run, subset, score) for subset in ("self", "cross")},
    }


def _measured(run: PlannedRun, subset: str, score: Score) -> dict[str, object]:
    names = [f"{subset}_{clip:02d}" for clip in range(CLIPS)]
    by_clip = {name: score(run, f"{subset}/l1", clip) for clip, name in enumerate(names)}
    of_all = score(run, f"{subset}/fid_mobilenetv2", 0)
    entries = [("l1", None, by_clip), ("fid_mobilenetv2", of_all, None)]
    return {
        "clips": names,
        "metrics": [
            {"metric": metric, "value": value, "protocol": metric_protocol(metric), "clips": clips}
            for metric, value, clips in entries
        ],
    }


def metric_protocol(metric: str, **other: object) -> dict[str, object]:
    protocol = MetricProtocol(
        metric=metric,
        version=1,
        parameters="",
        decoder="none",
        size="64x64",
        resize="none",
        fps="8",
        frames="9",
        window=None,
        clips=CLIPS,
        items=CLIPS,
        network="",
        weights="",
        target="0",
    )
    return protocol.model_copy(update=other).model_dump(mode="json")


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
