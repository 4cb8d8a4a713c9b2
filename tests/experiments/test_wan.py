"""Wan from end to end: from a published directory over both stages to frames, by the ways that CogVideoX takes."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from directanimator.animator import DirectAnimatorPipeline
from directanimator.data.synthetic_items import synthetic_item
from directanimator.errors import UserError
from directanimator.model.embedded import make_codec, make_text_encoder, make_transformer
from directanimator.model.wan_fusion import WanCueFusionTransformer
from directanimator.training.prepared import item_cues, prepare
from experiments.edit import edit
from experiments.evaluation import clips
from experiments.plan import clip_bytes
from experiments.presets import PRESETS
from experiments.record import RunDirectory
from experiments.spec import ExperimentSpec
from experiments.stage import HELD_OUT_LOSS, StageJob, train_stage, trained_model
from tests.published import WAN_SHAPE, WAN_SHIFT, write_wan

STEPS = 3


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExperimentSpec:
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path / "runs"))
    shape = {f"model.{name}": value for name, value in WAN_SHAPE.items()}
    schedule = {"sampling.scheduler": "unipc", "sampling.snr_shift_scale": WAN_SHIFT}
    little = {"data.size": 32, "same_id.steps": STEPS, "cross_id.steps": STEPS, "same2x.depth": 0.5}
    base = {"model.base": str(write_wan(tmp_path / "base"))}
    return edit(PRESETS["smoke"].spec, {**shape, **schedule, **little, **base})


def test_a_wan_directory_is_trained_in_two_stages_and_animates(spec: ExperimentSpec, tmp_path: Path) -> None:
    items = [synthetic_item("train", index, spec.data) for index in range(2)]
    codec, words = make_codec(spec.model), make_text_encoder(spec.model)
    clips = [prepare(item, codec, spec.data.size, spec.cues, words) for item in items]
    assert clip_bytes(spec) == sum(array.nbytes for array in clips[0].values())
    pool = {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}

    teacher, run = None, None
    for stage in ("same_id", "cross_id"):
        run = RunDirectory.claim(tmp_path / "runs", stage, spec={}, tags={}, experiment="test")
        train_stage(StageJob(spec, stage, pool, teacher, held_out=pool), run, Accelerator(cpu=True))
        teacher = trained_model(run, spec)
    assert isinstance(teacher, WanCueFusionTransformer)
    logged = [record.values for record in run.metrics.read()]
    assert [{"train/loss", "train/denoising", "train/s2x", HELD_OUT_LOSS} <= values.keys() for values in logged]
    assert all(math.isfinite(value) for values in logged for value in values.values())
    start = make_transformer(spec.model, spec.seed).state_dict()
    assert [name for name, value in teacher.state_dict().items() if torch.equal(value, start[name])] == []

    animator = DirectAnimatorPipeline.from_pretrained(run.model)
    _, cues = item_cues(items[0], spec.data.size, spec.cues)
    frames = list(animator(items[0].reference, cues))
    assert len(frames) == spec.data.num_frames
    assert {frame.shape for frame in frames} == {(32, 32, 3)}
    assert np.stack(frames).std() > 0


def test_a_clip_that_is_evaluated_is_told_its_caption(
    spec: ExperimentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions = ["walks", "", "waves"]
    told: dict[str, torch.Tensor] = {}

    def asked(*given: torch.Tensor) -> torch.Tensor:
        told.update({"text": given[3], "empty": given[-1]})
        return torch.zeros(len(captions), spec.data.num_frames, 3, 32, 32)

    monkeypatch.setattr(clips, "generate", asked)
    few = edit(spec, {"data.num_test_clips": len(captions), "evaluation.subsets": ("self",)})
    shown = [
        replace(clip, item=replace(clip.item, caption=caption))
        for clip, caption in zip(clips.clips_of(few, "self"), captions, strict=True)
    ]
    for _ in range(2):  # made, then kept
        clips.answer(make_transformer(few.model, 0), make_codec(few.model), shown, few)
        words = make_text_encoder(few.model)
        assert words is not None
        assert torch.equal(told["text"], torch.cat([words.encode([caption]) for caption in captions]))
        assert torch.equal(told["empty"], words.encode([""]))
        assert not torch.equal(told["text"][0], told["text"][2])


@pytest.mark.parametrize(
    ("backbone", "scheduler", "said"),
    [
        ("wan", "ddim", "sampling.scheduler=ddim: must be euler or unipc with model.backbone=wan"),
        ("cogvideox", "unipc", "sampling.scheduler=unipc: must be ddim or dpm with model.backbone=cogvideox"),
    ],
)
def test_a_sampler_of_the_other_backbone_is_refused(backbone: str, scheduler: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        edit(PRESETS["smoke"].spec, {"model.backbone": backbone, "sampling.scheduler": scheduler})
