"""`python -m experiments.benchmark [NAME ...] [rounds=5]`: what the method costs beside CogVideoX itself, as ratios.

Each pair is timed in turn, in one process, on the same numbers; the medians' ratio is printed. Nothing here passes or
fails: a loaded machine moves both sides alike, and a table of seconds would be worth nothing elsewhere."""

import functools
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from directanimator.errors import UserError, did_you_mean
from experiments.command_line import run_main

if TYPE_CHECKING:
    from directanimator.model.backbone import CueBackbone
    from directanimator.model.counts import LatentGrid
    from directanimator.model.spec import ModelSpec

USAGE = """usage: python -m experiments.benchmark [NAME ...] [rounds=5]; without a name, all of them

  step, memory       time and peak memory of a training step with cues, in those of diffusers' transformer
  matmul             share of the processor's own matmul speed that both reach
  teacher            a cross-ID step with the teacher, in one without
  loading, growth    what loading costs two processes; time and memory by the number of cached clips
  sampling, windows  sampling beside diffusers' pipeline; memory by the length of a video, and its seams"""
SAMPLING_STEPS, GUIDANCE = 20, 6.0
MATMUL_SIDES = (1024, 2048)
LONG_VIDEO = (50, 500)
"""Frames of the videos whose memory is compared."""


def main(tokens: Sequence[str]) -> int:
    """Exit status 0.

    Raises: UserError for bad input."""
    if "--help" in tokens:
        print(USAGE)
        return 0
    rounds = 5
    chosen = [token for token in tokens if token in BENCHMARKS] or list(BENCHMARKS)
    for token in tokens:
        key, _, text = token.partition("=")
        if token in BENCHMARKS:
            continue
        if key != "rounds" or not text.isdecimal() or not 1 <= int(text[:6]) <= 1000:
            legal = (*BENCHMARKS, "rounds=")
            raise UserError(f"{token!r}: want {', '.join(BENCHMARKS)}, or rounds=1..1000{did_you_mean(token, legal)}")
        rounds = int(text)
    for name in chosen:
        print(f"{name:9} {BENCHMARKS[name](rounds)}", flush=True)
    return 0


def ratio(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> float:
    """Median seconds of ours in median seconds of theirs, called in turn; each is called once before."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for call, taken in zip((ours, theirs), seconds, strict=True):
            started = time.perf_counter()
            call()
            if number:
                taken.append(time.perf_counter() - started)
    return statistics.median(seconds[0]) / statistics.median(seconds[1])


Pair = tuple[str, Callable[[], object], Callable[[], object]]


def _timed(pair: Callable[[], Pair]) -> Callable[[int], str]:
    """The words of a pair's ratio, by rounds."""

    def words(rounds: int) -> str:
        what, ours, theirs = pair()
        return f"{what}: {ratio(ours, theirs, rounds):.3f}"

    return words


def _inputs(model: "CueBackbone", spec: "ModelSpec", grid: "LatentGrid") -> list[Any]:
    """Random inputs of a model, every cue present."""
    import torch

    from directanimator.model.counts import empty_inputs

    inputs: list[Any] = list(empty_inputs(model, spec, grid, torch.float32))
    for tensor in (*inputs[:3], *list(vars(inputs[4]).values())[:4]):
        tensor.normal_()
    inputs[3].fill_(500)
    for present in list(vars(inputs[4]).values())[4:]:
        present.fill_(True)
    return inputs


SIDES = ("with cues", "diffusers' own")


def _step(side: str, clips: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """A training step of S size in bf16, where the processor has it, of our transformer with cues or of diffusers' own
    of its size; and its forward and backward pass alone."""
    import torch
    from torch import Tensor, nn

    from directanimator.model.counts import LatentGrid
    from directanimator.model.embedded import build_cogvideox, without_cues
    from directanimator.model.precision import autocast
    from directanimator.model.spec import ModelSpec

    spec = ModelSpec(
        base="random", num_layers=8, num_heads=6, latent_channels=16, time_embed_dim=512, max_text_tokens=16
    )
    torch.manual_seed(0)
    ours = build_cogvideox(spec)
    inputs = _inputs(ours, spec, LatentGrid(clips, 5, 8, 8))
    both = torch.cat(inputs[:2], dim=2)
    rotary = ours.rotary(5, 8, 8, both.device)
    model: nn.Module = ours if side == SIDES[0] else without_cues(ours)

    def predict() -> Tensor:
        if model is ours:
            return ours(*inputs).velocity
        predicted: Tensor = model(both, inputs[2], inputs[3], image_rotary_emb=rotary, return_dict=False)[0]
        return predicted

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def passes() -> None:
        with autocast("cpu", "bf16"):
            loss = predict().float().square().mean()
        loss.backward()

    def step() -> None:
        passes()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step, passes


def _precision() -> str:
    """What is measured in: bf16, or fp32 where the processor does not multiply in that."""
    from directanimator.model.precision import precision_on

    return precision_on("cpu", "bf16")


def step_pair() -> Pair:
    """A training step with cues against one of diffusers' own transformer: S size."""
    words = f"training step with cues against diffusers' transformer, S size, batch 4, {_precision()}"
    ours, theirs = (_step(side, clips=4)[0] for side in SIDES)
    return words, ours, theirs


def _as_trained(step: Callable[[], object]) -> Callable[[], object]:
    """The step with the attention that a training here chooses."""
    from directanimator.training.loop import make_accelerator, suitable_attention

    accelerator = make_accelerator("bf16")

    def trained() -> None:
        with suitable_attention(accelerator):
            step()

    return trained


def memory_words(_rounds: int) -> str:
    """The ratio of the peak memories of those two steps, each in a process of its own."""
    from experiments.benchmarks.alone import alone

    ours, theirs = (alone(_step_peak, side) for side in SIDES)
    return (
        f"peak memory of a training step, S size, batch 4, {_precision()}: {ours / 1e6:.0f} MB with cues, "
        f"{theirs / 1e6:.0f} MB diffusers' own, beside the libraries: {ours / theirs:.3f}"
    )


def _step_peak(side: str) -> int:
    """Bytes beside the libraries, in the second step: the optimizer's moments are there from the first on."""
    from directanimator.process_memory import peak_resident_bytes, resident_bytes

    before = resident_bytes()
    step, _ = _step(side, clips=4)
    step()
    step()
    return peak_resident_bytes() - before


def matmul_words(rounds: int) -> str:
    """The shares of the processor's matmul speed that both steps reach; the fastest round of each, in turn."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    dtype = torch.bfloat16 if _precision() == "bf16" else torch.float32
    work: list[tuple[Callable[[], object], float]] = []
    for side in SIDES:
        step, passes = _step(side, clips=16)
        if side == SIDES[0]:
            step = _as_trained(step)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # counts no fused kernel of a CPU
            passes()
        work.append((step, float(counter.get_total_flops())))
    for size in MATMUL_SIDES:
        one, other, product = (torch.randn(size, size, dtype=dtype) for _ in range(3))
        work.append((functools.partial(torch.mm, one, other, out=product), 2.0 * size**3))
    fastest = [math.inf] * len(work)
    for _ in range(rounds + 1):
        for number, (call, _) in enumerate(work):
            started = time.perf_counter()
            call()
            fastest[number] = min(fastest[number], time.perf_counter() - started)
    speeds = [flops / seconds for (_, flops), seconds in zip(work, fastest, strict=True)]
    peak = max(speeds[2:])
    return (
        f"share of the fastest {_precision()} matmul, {peak / 1e9:.0f} GFLOP/s, in a training step, S size, batch 16: "
        f"{speeds[0] / peak:.3f} with cues, {speeds[1] / peak:.3f} diffusers' own"
    )


def teacher_pair() -> Pair:
    """A cross-ID step with the teacher against one without, on the shipped base."""
    import torch

    from directanimator.model.counts import LatentGrid
    from directanimator.model.embedded import make_transformer
    from directanimator.model.spec import ModelSpec
    from directanimator.objective.noise_process import make_process
    from directanimator.objective.spec import SamplingSpec
    from directanimator.training.batch import DenoisingBatch
    from directanimator.training.loop import make_accelerator, train_step
    from directanimator.training.spec import OptimSpec, Same2XSpec
    from directanimator.training.stages import cross_id_objective
    from directanimator.training.state import new_state

    spec, optim = ModelSpec(), OptimSpec()
    teacher = make_transformer(spec, 0).eval().requires_grad_(False)
    inputs = _inputs(teacher, spec, LatentGrid(4, 3, 8, 8))
    latents, reference, text, timestep, cues = inputs
    weights = torch.ones(4, 3, 1, 8, 8)
    batch = DenoisingBatch(latents, reference, text, torch.randn_like(latents), timestep, weights, cues, cues)
    accelerator = make_accelerator("bf16")
    process = make_process(SamplingSpec())

    def step(enabled: bool) -> Callable[[], object]:
        state = new_state(make_transformer(spec, 0), optim)
        objective = cross_id_objective(process, teacher, Same2XSpec(enabled=enabled))
        return lambda: train_step(state, state.model, batch, objective, 1e-4, optim, accelerator)

    return "cross-ID step with the teacher against one without, preset=cpu", step(True), step(False)


def sampling_pair() -> Pair:
    """Sampling with guidance against diffusers' own image-to-video pipeline on the same base."""
    import torch
    from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
    from diffusers.pipelines.cogvideo.pipeline_cogvideox_image2video import CogVideoXImageToVideoPipeline

    from directanimator.model.counts import LatentGrid
    from directanimator.model.embedded import build_cogvideox, without_cues
    from directanimator.model.spec import ModelSpec
    from directanimator.objective.denoising import make_scheduler
    from directanimator.objective.spec import SamplingSpec
    from directanimator.pipeline import guided, sample

    spec = ModelSpec(base="random", num_layers=6, latent_channels=16, text_embed_dim=32, max_text_tokens=16)
    sampling = SamplingSpec(
        scheduler="ddim", num_steps=SAMPLING_STEPS, guidance_scale=GUIDANCE, guidance_over="text", snr_shift_scale=1.0
    )
    torch.manual_seed(0)
    model = build_cogvideox(spec).eval().requires_grad_(False)
    inputs = _inputs(model, spec, LatentGrid(1, 3, 8, 8))
    noise, reference, text, _, cues = inputs
    vae = AutoencoderKLCogVideoX(block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4)
    pipeline = CogVideoXImageToVideoPipeline(
        tokenizer=cast(Any, None),  # the prompt is given as tokens
        text_encoder=cast(Any, None),
        vae=vae,
        transformer=without_cues(model).eval(),
        scheduler=cast(Any, make_scheduler(sampling)),
    )
    pipeline.set_progress_bar_config(disable=True)
    image = torch.rand(1, 3, 64, 64)

    def theirs() -> object:
        return pipeline(
            image=image,
            prompt_embeds=text,
            negative_prompt_embeds=torch.zeros_like(text),
            height=64,
            width=64,
            num_frames=9,
            num_inference_steps=SAMPLING_STEPS,
            guidance_scale=GUIDANCE,
            output_type="latent",
        )

    words = f"{SAMPLING_STEPS} steps with guidance and cues against diffusers' pipeline without, tiny model"
    return words, lambda: sample(guided(model, reference, text, cues, sampling), noise, sampling), theirs


def long_video_words(_rounds: int) -> str:
    """Peak memory by length of the video, and the seams; in a process of its own, or other peaks would be in it."""
    from experiments.benchmarks.alone import alone

    return alone(_long_video_words)


def _long_video_words() -> str:
    """Peak memory by length of the video, and the seams, of the shipped base with nothing learned of cues."""
    import numpy as np

    from directanimator.animator import CheckpointSpec, DirectAnimatorPipeline
    from directanimator.cues.spec import CueSpec
    from directanimator.cues.triplet import null_cues
    from directanimator.data.spec import DataSpec
    from directanimator.model.embedded import load_codec, make_transformer
    from directanimator.model.spec import ModelSpec
    from directanimator.objective.spec import SamplingSpec
    from directanimator.process_memory import peak_resident_bytes
    from directanimator.training.spec import OptimSpec
    from directanimator.training.stages import no_text
    from directanimator.windows import Seams

    model = ModelSpec()
    spec = CheckpointSpec(
        data=DataSpec(), cues=CueSpec(), model=model, optim=OptimSpec(), sampling=SamplingSpec(num_steps=4)
    )
    transformer = make_transformer(model, 0).eval().requires_grad_(False)
    pipeline = DirectAnimatorPipeline(spec, transformer, load_codec(), no_text(model))
    reference = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    peaks, seams = [], Seams()
    for count in LONG_VIDEO:
        seams = Seams()
        cues = null_cues(count, spec.data.size)
        wave = 128 + 60 * np.sin(np.arange(count)[:, None, None] / 9 + np.arange(64)[None, None] / 5)
        cues.pose_cue[:] = wave.astype(np.uint8)
        cues.pose_present[:] = True
        for _ in pipeline(reference, cues, seams=seams):
            pass
        peaks.append(peak_resident_bytes() - _bytes_of(cues))
    report = seams.report()
    return (
        f"peak memory beside the cues, {LONG_VIDEO[1]} against {LONG_VIDEO[0]} frames: {peaks[1] / peaks[0]:.3f}; "
        f"change at seams in changes inside {report.change_ratio:.2f}, windows disagree by {report.disagreement:.2f} "
        f"of 255, mean color drifts by {max(report.drift):.2f}"
    )


def _bytes_of(cues: object) -> int:
    return sum(value.nbytes for value in vars(cues).values())


def _loading_words(rounds: int) -> str:
    from experiments.benchmarks.scaling import loading_words

    return loading_words(rounds)


def _growth_words(rounds: int) -> str:
    from experiments.benchmarks.scaling import growth_words

    return growth_words(rounds)


BENCHMARKS: dict[str, Callable[[int], str]] = {
    "step": _timed(step_pair),
    "memory": memory_words,
    "matmul": matmul_words,
    "teacher": _timed(teacher_pair),
    "loading": _loading_words,
    "growth": _growth_words,
    "sampling": _timed(sampling_pair),
    "windows": long_video_words,
}
"""What is measured, by name, each a function of the number of rounds."""


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run_main(main)
