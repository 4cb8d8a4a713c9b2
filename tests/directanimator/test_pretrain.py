"""The pretraining command: its words, its codec loss, and what it writes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from directanimator import pretrain
from directanimator.data.version import SYNTH_VERSION
from directanimator.errors import UserError
from directanimator.model.codec import PatchCodec
from directanimator.pretrain import (
    Request,
    codec_objective,
    main,
    measure_codec,
    parse,
    psnr,
    run_training,
    write_model,
)
from directanimator.training.loop import Losses, StepResult, train
from directanimator.training.spec import OptimSpec
from directanimator.training.state import TrainState, new_state

OPTIM = OptimSpec(learning_rate=0.05, warmup_steps=0)


def codec_of(seed: int = 0) -> PatchCodec:
    torch.manual_seed(seed)
    codec = PatchCodec(latent_channels=16, width=16, num_blocks=2)
    return codec.fit(torch.rand(900, 768) * 2 - 1)


@given(st.sampled_from(["codec", "base"]), st.integers(1, 10**6))
def test_part_and_steps_are_read(part: str, steps: int) -> None:
    assert parse([part, f"steps={steps}"]) == Request(part, steps)
    assert parse([part]).steps > 1000


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["bass"],
        ["base", "steps=0"],
        ["base", "steps=-1"],
        ["base", "steps=x"],
        ["base", "step=3"],
        ["base", "steps=3", "steps=4"],
    ],
)
def test_other_words_are_refused_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "codec|base" in capsys.readouterr().out


def test_a_near_word_is_suggested() -> None:
    with pytest.raises(UserError, match="did you mean 'codec'"):
        parse(["codek"])


@given(st.floats(0.001, 2))
def test_psnr_of_a_constant_error(error: float) -> None:
    target = torch.zeros(2, 5, 3, 8, 8)
    assert 10 ** (psnr(target + error, target) / 20) == pytest.approx(2 / error, rel=1e-4)


@given(st.integers(0, 2**31))
def test_the_codec_loss_is_that_of_the_mean_item(seed: int) -> None:
    codec, generator = codec_of(), torch.Generator().manual_seed(seed)
    video = torch.rand(3, 5, 3, 16, 16, generator=generator) * 2 - 1
    noise = torch.randn(3, 2, 16, 2, 2, generator=generator)
    items = [codec_objective(codec, (v, n))["loss"] for v, n in zip(video.split(1), noise.split(1), strict=True)]
    torch.testing.assert_close(codec_objective(codec, (video, noise))["loss"], torch.stack(items).mean())


def test_a_written_codec_loads_with_the_weights_and_the_report_it_had(tmp_path: Path) -> None:
    codec = codec_of()
    write_model(codec, tmp_path / "codec", {"steps": 3})
    again = PatchCodec.from_pretrained(tmp_path / "codec")
    torch.testing.assert_close(again.state_dict(), codec.state_dict(), rtol=0, atol=0)
    assert json.loads((tmp_path / "codec" / "report.json").read_text()) == {"steps": 3}


@torch.no_grad()
def test_the_report_tells_the_quality_of_the_codec() -> None:
    codec, video = codec_of(), torch.rand(20, 5, 3, 16, 16) * 2 - 1
    report = measure_codec(codec, video)
    assert report["psnr"] == pytest.approx(psnr(codec.decode(codec.encode(video)), video), rel=1e-4)
    assert report["psnr"] == pytest.approx(report["psnr_linear_decode"], rel=1e-4)
    assert report["latent_mean_square"] == pytest.approx(float(codec.encode(video).square().mean()), rel=1e-4)


def test_a_pretraining_that_is_killed_goes_on_and_ends_at_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain, "CHECKPOINT_EVERY_S", -1.0)

    def objective(model: nn.Module, inputs: Tensor) -> Losses:
        return {"loss": (model(inputs) - 1).square().mean()}

    def batch_at(step: int) -> Tensor:
        return torch.randn(4, 3, generator=torch.Generator().manual_seed(step))

    def fresh(seed: int) -> tuple[TrainState, Iterator[StepResult]]:
        torch.manual_seed(seed)
        state = new_state(nn.Linear(3, 1), OPTIM)
        return state, train(state, batch_at, objective, 9, OPTIM, Accelerator(cpu=True))

    def killed(results: Iterator[StepResult], at: int) -> Iterator[StepResult]:
        for result in results:
            yield result
            if result.step == at:
                raise KeyboardInterrupt

    monkeypatch.setattr(pretrain, "pretraining_root", lambda: tmp_path / "unbroken")
    unbroken, results = fresh(0)
    run_training(unbroken, "toy", results, 9, {"codec": "a"})
    for number, (people, codec) in enumerate([(1_000, "a"), (SYNTH_VERSION, "b")]):
        monkeypatch.setattr(pretrain, "SYNTH_VERSION", people)
        other, results = fresh(2 + number)
        run_training(other, "toy", results, 9, {"codec": codec})
        assert not torch.equal(other.model.state_dict()["weight"], unbroken.model.state_dict()["weight"]), "reused"
    monkeypatch.setattr(pretrain, "pretraining_root", lambda: tmp_path / "broken")
    state, results = fresh(0)
    with pytest.raises(KeyboardInterrupt):
        run_training(state, "toy", killed(results, 4), 9, {"codec": "a"})
    resumed, results = fresh(1)
    run_training(resumed, "toy", results, 9, {"codec": "a"})
    torch.testing.assert_close(resumed.model.state_dict(), unbroken.model.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(resumed.model.state_dict(), resumed.ema, rtol=0, atol=0)
