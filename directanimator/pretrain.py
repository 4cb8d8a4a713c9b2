"""Makes the embedded base: `python -m directanimator.pretrain codec`, then `python -m directanimator.pretrain base`.

First a video codec, then an image-to-video transformer without any driving cue, both on synthetic humans. Each part
writes checkpoints and goes on when the same command is run again; the result goes to directanimator/model/embedded/.
"""

import functools
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from directanimator.atomic import atomic_directory
from directanimator.command import run_command
from directanimator.data.pool import Rows, build_pool, open_pool
from directanimator.data.spec import DataSpec
from directanimator.data.synthetic import Split
from directanimator.data.synthetic_items import synthetic_pixels
from directanimator.data.version import SYNTH_VERSION
from directanimator.errors import UserError, did_you_mean
from directanimator.extraction.backends import digest_of_directory
from directanimator.extraction.store import key_of
from directanimator.model.codec import PatchCodec, from_groups, to_groups, to_patches, to_video
from directanimator.model.cue_fusion import CUE_PARAMETERS
from directanimator.model.embedded import EMBEDDED_DIRECTORY, build_cogvideox, without_cues
from directanimator.model.spec import ModelSpec
from directanimator.objective.noise_process import make_process
from directanimator.objective.spec import SamplingSpec
from directanimator.places import pretraining_root
from directanimator.training.batch import (
    DenoisingBatch,
    denoising_objective,
    draw_for,
    gaussian_noise,
    noisy_timestep,
    samples_of,
)
from directanimator.training.checkpoint import load_checkpoint, save_checkpoint
from directanimator.training.loop import Losses, StepResult, make_accelerator, train
from directanimator.training.spec import OptimSpec
from directanimator.training.state import TrainState, load_average, new_state
from directanimator.words import read_words, whole

USAGE = "usage: python -m directanimator.pretrain codec|base [steps=N]"
MOST_STEPS = 10_000_000
NUM_CLIPS = 12288
NUM_TEST_CLIPS = 128
SEED = 20261122
CHECKPOINT_EVERY_S = 300.0
LOG_EVERY = 50
MAX_LATENT_NOISE = 0.5
FIRST_FRAME_SHARE = 0.3
"""Share of pretraining clips whose reference is their own first frame, as in plain image-to-video."""
NOISE_BIAS = 2.0
"""Timesteps lean towards noise, where the picture is decided, half as far as a short fine-tuning leans."""
CODEC_OPTIM = OptimSpec(
    learning_rate=1e-3, warmup_steps=100, decay_share=0.5, weight_decay=0.0, beta2=0.99, global_batch_size=4
)
BASE_OPTIM = OptimSpec(learning_rate=6e-4, warmup_steps=200, decay_share=0.3, ema_decay=0.999, global_batch_size=8)

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    part: str
    steps: int


def parse(arguments: list[str]) -> Request:
    """The request of the command line.

    Raises: UserError for anything but `codec|base [steps=N]`."""
    defaults = {"codec": 5000, "base": 8000}
    if not arguments or arguments[0] not in defaults:
        word = arguments[0] if arguments else ""
        raise UserError(f"expected `codec` or `base`, got {word!r}{did_you_mean(word, defaults)}")
    steps = defaults[arguments[0]]
    return Request(arguments[0], whole(read_words(arguments[1:], ("steps",)), "steps", steps, 1, MOST_STEPS))


def made_from(**recipe: object) -> str:
    """8 hex digits that name the people and the clips that are trained on, and the recipe: what was made of others is
    not gone on with."""
    return key_of({"people": SYNTH_VERSION, "data": DataSpec().model_dump(mode="json"), **recipe})[:8]


def pixel_pool(split: Split, count: int) -> dict[str, Rows]:
    """Rendered clips of a split, made on the first call."""
    directory = pretraining_root() / f"pixels-{split}-{count}-{made_from()}"
    make = functools.partial(synthetic_pixels, split, spec=DataSpec())
    build_pool(directory, count, make, f"rendering {split} clips")
    return open_pool(directory)


def psnr(generated: Tensor, target: Tensor) -> float:
    """Decibels over all values of two videos in [-1, 1]."""
    return float(10 * torch.log10(4 / (generated - target).square().mean()))


def resumable(
    state: TrainState, checkpoint: Path, fingerprint: str, results: Iterator[StepResult], total: int
) -> Iterator[StepResult]:
    """The results, with a log line now and then and a checkpoint every five minutes and at the end."""
    started = saved = time.monotonic()
    first = state.step
    for result in results:
        now = time.monotonic()
        if result.step % LOG_EVERY == 0:
            rate = (result.step - first) / (now - started)
            values = " ".join(f"{name}={value:.4f}" for name, value in result.metrics.items())
            print(f"step {result.step}/{total} {rate:.2f}/s {values}", flush=True)
        if now - saved > CHECKPOINT_EVERY_S or result.step == total:
            save_checkpoint(state, checkpoint, fingerprint)
            saved = now
        yield result


def run_training(
    state: TrainState, name: str, results: Iterator[StepResult], total: int, recipe: Mapping[str, object]
) -> None:
    """Nothing; trains to the end from the last checkpoint of this recipe on."""
    checkpoint, fingerprint = pretraining_root() / f"{name}-{made_from(**recipe)}.safetensors", f"{name}-{total}"
    if checkpoint.exists():
        load_checkpoint(state, checkpoint, fingerprint)
    for _ in resumable(state, checkpoint, fingerprint, results, total):
        pass
    load_average(state)


def codec_objective(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Losses:
    """Squared error per space-time patch, from latents with noise on every second clip.

    Summed over the patch, so that gradients stay far above the optimizer's epsilon."""
    video, latent_noise = batch
    error = to_patches(model(video, latent_noise).float() - to_groups(video))
    return {"loss": error.square().sum(dim=-1).mean()}


def train_codec(steps: int) -> None:
    """Nothing; fits and trains the codec and writes it beside the model's code."""
    frames, test = pixel_pool("train", NUM_CLIPS)["target"], pixel_pool("test", NUM_TEST_CLIPS)["target"]
    torch.manual_seed(SEED)
    codec = PatchCodec()
    rng = np.random.default_rng(SEED)
    chosen = np.sort(rng.choice(len(frames), 1024, replace=False))
    patches = to_patches(to_groups(to_video(frames[chosen.tolist()]))).flatten(0, 3)
    codec.fit(patches[torch.from_numpy(rng.choice(len(patches), 100_000, replace=False))])

    def batch_at(step: int) -> tuple[Tensor, Tensor]:
        draws = [draw_for(SEED, 0, sample) for sample in samples_of(step, CODEC_OPTIM.global_batch_size, 0, 1)]
        video = to_video(frames[[int(draw.rng.integers(len(frames))) for draw in draws]])
        level = torch.tensor([max(0.0, draw.rng.uniform(-1, 1)) * MAX_LATENT_NOISE for draw in draws])
        shape = (1 + (video.shape[1] - 1) // 4, codec.latent_channels, video.shape[3] // 8, video.shape[4] // 8)
        return video, gaussian_noise(draws, shape) * level.view(-1, 1, 1, 1, 1)

    accelerator = make_accelerator("bf16")
    state = new_state(codec, CODEC_OPTIM)
    results = train(state, batch_at, codec_objective, steps, CODEC_OPTIM, accelerator)
    run_training(state, "codec", results, steps, {"seed": SEED, "optim": CODEC_OPTIM.model_dump(mode="json")})
    report = {"steps": steps, "test_clips": len(test), **measure_codec(codec, to_video(test[range(len(test))]))}
    write_model(codec, EMBEDDED_DIRECTORY / "codec", report)


@torch.no_grad()
def measure_codec(codec: PatchCodec, video: Tensor) -> dict[str, float]:
    """Decibels of the reconstruction on held-out clips, and the mean square of their latents."""
    codec.eval()
    latents = torch.cat([codec.encode(part) for part in video.split(16)])
    linear = torch.cat([from_groups(codec.linear_decode(part)) for part in latents.split(16)])
    decoded = torch.cat([codec.decode(part) for part in latents.split(16)])
    return {
        "psnr": psnr(decoded, video),
        "psnr_linear_decode": psnr(linear.clamp(-1, 1), video),
        "psnr_first_frame": psnr(decoded[:, :1], video[:, :1]),
        "latent_mean_square": float(latents.square().mean()),
    }


def write_model(model: ModelMixin, directory: Path, report: Mapping[str, float | int]) -> None:
    """Nothing; writes config, weights and the measured report."""
    with atomic_directory(directory) as draft:
        model.save_pretrained(draft)
        (draft / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"wrote {directory}: {report}")


def encode_pool(codec: PatchCodec, count: int) -> dict[str, np.ndarray]:
    """Latents of the rendered training clips in fp16, and of their references."""
    pixels = pixel_pool("train", count)
    made: dict[str, list[np.ndarray]] = {name: [] for name in pixels}
    with torch.no_grad():
        for start in range(0, count, 64):
            for name, frames in pixels.items():
                part = frames[range(start, min(start + 64, count))]
                made[name].append(codec.encode(to_video(part)).half().numpy())
    return {name: np.concatenate(parts) for name, parts in made.items()}


def train_base(steps: int) -> None:
    """Nothing; trains the transformer without cues and writes it beside the model's code."""
    codec = PatchCodec.from_pretrained(EMBEDDED_DIRECTORY / "codec").eval()
    pool, model_spec = encode_pool(codec, NUM_CLIPS), ModelSpec()
    torch.manual_seed(SEED)
    model = build_cogvideox(model_spec)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(part in name for part in CUE_PARAMETERS))

    def batch_at(step: int) -> DenoisingBatch:
        draws = [draw_for(SEED, 1, sample) for sample in samples_of(step, BASE_OPTIM.global_batch_size, 0, 1)]
        items = [int(draw.rng.integers(NUM_CLIPS)) for draw in draws]
        latents = torch.from_numpy(pool["target"][items]).float()
        references = torch.from_numpy(pool["reference"][items]).float()
        own = torch.tensor([draw.rng.random() < FIRST_FRAME_SHARE for draw in draws]).view(-1, 1, 1, 1, 1)
        return DenoisingBatch(
            latents=latents,
            reference_latents=torch.where(own, latents[:, :1], references).expand_as(latents),
            text=torch.zeros(len(draws), model_spec.max_text_tokens, model_spec.text_embed_dim),
            noise=gaussian_noise(draws, tuple(latents.shape[1:])),
            timestep=torch.tensor([noisy_timestep(draw, NOISE_BIAS) for draw in draws]),
            weights=torch.ones(len(draws), latents.shape[1], 1, *latents.shape[3:]),
            cues=None,
        )

    accelerator = make_accelerator("bf16")
    state = new_state(model, BASE_OPTIM)
    results = train(state, batch_at, denoising_objective(make_process(SamplingSpec())), steps, BASE_OPTIM, accelerator)
    specs = {"optim": BASE_OPTIM.model_dump(mode="json"), "model": model_spec.model_dump(mode="json")}
    made_by = digest_of_directory(EMBEDDED_DIRECTORY / "codec")
    run_training(state, "base", results, steps, {"seed": SEED, "codec": made_by, **specs})
    write_model(without_cues(model).bfloat16(), EMBEDDED_DIRECTORY / "transformer", {"steps": steps})


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, 2 after one line on stderr about bad input, 130 when interrupted."""
    return run_command(_command, arguments, "interrupted; the same command goes on")


def _command(tokens: list[str]) -> int:
    if "--help" in tokens:
        print(USAGE)
        return 0
    request = parse(tokens)
    (train_codec if request.part == "codec" else train_base)(request.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
