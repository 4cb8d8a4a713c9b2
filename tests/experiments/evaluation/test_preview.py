"""What is seen of a few clips while a model is trained is what the evaluation will say of them."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from directanimator.data.spec import Subset
from directanimator.model.backbone import CueBackbone
from directanimator.model.codec import VideoCodec
from directanimator.model.embedded import make_codec, make_transformer
from experiments.edit import edit
from experiments.evaluation import preview as previewing
from experiments.evaluation.clips import generate_clips, make_test_clips, scored
from experiments.evaluation.preview import preview, preview_subset
from experiments.presets import PRESETS
from experiments.spec import Stage

SPEC = edit(PRESETS["smoke"].spec, {"data.num_test_clips": 3, "evaluation.subsets": ("self", "cross")})


@pytest.fixture(scope="module")
def model() -> CueBackbone:
    """One that draws something else for every clip."""
    made = make_transformer(SPEC.model, 0).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in made.named_parameters():
        if ".cues." in name or "_embed." in name:
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return made


@pytest.fixture(scope="module")
def codec() -> VideoCodec:
    return make_codec(SPEC.model)


@pytest.mark.parametrize(("stage", "subset"), [("same_id", "self"), ("cross_id", "cross")])
def test_a_preview_is_the_evaluation_of_the_first_clips(
    model: CueBackbone, codec: VideoCodec, monkeypatch: pytest.MonkeyPatch, stage: Stage, subset: Subset
) -> None:
    monkeypatch.setattr(previewing, "PREVIEW_CLIPS", 2)
    clips = make_test_clips(SPEC)[subset]
    of_all = scored(clips, generate_clips(model, codec, clips, SPEC))
    found = preview(model, codec, SPEC, stage)
    for name in ("psnr", "ssim", "motion", "mask_iou"):
        wanted = np.mean([scores[name] for scores in of_all[:2]])
        assert found[f"preview/{subset}/{name}"] == pytest.approx(wanted, abs=0.02)
        assert not np.isclose(wanted, np.mean([scores[name] for scores in of_all]), atol=1e-6)


def test_what_no_clip_has_is_left_out(model: CueBackbone, codec: VideoCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_faces(*_: object) -> list[Mapping[str, float]]:
        return [{"clip": 0.0, "psnr": 20.0, "psnr_face": math.nan}]

    monkeypatch.setattr(previewing, "scored", without_faces)
    assert preview(model, codec, SPEC, "cross_id") == {"preview/cross/psnr": 20.0}


def test_a_stage_shows_what_it_is_about_if_that_is_evaluated() -> None:
    faces = edit(SPEC, {"evaluation.subsets": ("face", "self")})
    assert [preview_subset(faces, stage) for stage in ("same_id", "cross_id")] == ["self", "face"]
