"""The sampler and its guidance."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from directanimator.model.codec import PatchCodec
from directanimator.model.cue_fusion import CueFusionTransformer
from directanimator.model.cue_streams import MASK_CHANNELS, CueLatents
from directanimator.model.embedded import build_transformer
from directanimator.model.spec import ModelSpec
from directanimator.objective.denoising import make_scheduler
from directanimator.objective.noise_process import make_sampler
from directanimator.objective.spec import FLOW_SCHEDULERS, V_SCHEDULERS, SamplingSpec, ends_without_noise
from directanimator.pipeline import Denoiser, generate, guided, sample

SPEC = ModelSpec(
    base="random", num_layers=2, num_heads=2, head_dim=16, latent_channels=4, time_embed_dim=16, text_embed_dim=8
)
seeds = st.integers(0, 2**31)
KINDS = ["ddim", "dpm", "euler", "unipc"]
kinds = st.sampled_from(KINDS)
legal_steps = st.sampled_from([count for count in range(1, 41) if ends_without_noise(count)])
"""Of every scheduler."""


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def model_of(seed: int) -> CueFusionTransformer:
    torch.manual_seed(seed)
    model = build_transformer(SPEC).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def cues_of(seed: int, frames: int = 2) -> CueLatents:
    mask, present = torch.rand(1, frames, MASK_CHANNELS, 2, 3), torch.ones(1, frames, dtype=torch.bool)
    pose, face = (normal(seed + k, 1, frames, 4, 2, 3) for k in range(2))
    return CueLatents(pose, face, mask, mask, present, present)


def knows(answer: Tensor, spec: SamplingSpec) -> Denoiser:
    """A denoiser whose velocity always points from the noisy latents to the one answer."""
    if spec.scheduler in FLOW_SCHEDULERS:
        sampler = make_sampler(spec)  # UniPC tells whole timesteps only, so its sigmas are looked up
        sigmas = {int(time): sigma for time, sigma in zip(sampler.timesteps, sampler.sigmas[:-1], strict=True)}
        return lambda noisy, timestep: (noisy - answer) / sigmas[int(timestep[0])]
    alphas = make_scheduler(spec).alphas_cumprod.double()

    def denoise(noisy: Tensor, timestep: Tensor) -> Tensor:
        a = alphas[timestep].view(-1, 1, 1, 1, 1)
        return ((a.sqrt() * noisy - answer) / (1 - a).sqrt()).float()

    return denoise


@given(seeds, kinds, legal_steps)
def test_a_denoiser_that_knows_the_answer_gets_it(seed: int, kind: str, num_steps: int) -> None:
    spec = SamplingSpec(scheduler=kind, num_steps=num_steps)
    answer, noise = normal(seed, 2, 2, 3, 4, 4), normal(seed + 1, 2, 2, 3, 4, 4)
    torch.testing.assert_close(sample(knows(answer, spec), noise, spec), answer, rtol=1e-4, atol=1e-3)


@given(seeds, st.sampled_from(["euler", "unipc"]), st.integers(1, 40))
def test_samplers_of_flows_end_without_noise_at_any_number_of_steps(seed: int, kind: str, num_steps: int) -> None:
    spec = SamplingSpec(scheduler=kind, num_steps=num_steps)
    answer, noise = normal(seed, 1, 2, 3, 4, 4), normal(seed + 1, 1, 2, 3, 4, 4)
    torch.testing.assert_close(sample(knows(answer, spec), noise, spec), answer, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", V_SCHEDULERS)
def test_it_is_known_which_numbers_of_steps_end_at_the_clip(kind: str) -> None:
    scheduler = make_scheduler(SamplingSpec(scheduler=kind))
    for num_steps in range(1, 1001):
        scheduler.set_timesteps(num_steps)
        last, count = int(scheduler.timesteps[-1]), len(scheduler.timesteps)
        ends = last >= 0 and last - scheduler.config.num_train_timesteps // num_steps < 0
        assert ends_without_noise(num_steps) == (ends and count == num_steps), num_steps


@given(kinds, legal_steps)
def test_the_denoiser_is_asked_once_per_step_from_pure_noise_on(kind: str, num_steps: int) -> None:
    asked: list[tuple[int, ...]] = []

    def denoise(noisy: Tensor, timestep: Tensor) -> Tensor:
        asked.append(tuple(timestep.tolist()))
        return torch.zeros_like(noisy)

    sample(denoise, normal(0, 2, 1, 2, 2, 2), SamplingSpec(scheduler=kind, num_steps=num_steps))
    assert len(asked) == num_steps
    assert asked[0] in {(999, 999), (1000, 1000)}
    assert asked == sorted(asked, reverse=True)


@given(seeds, kinds, st.integers(2, 4))
def test_a_clip_does_not_depend_on_those_beside_it(seed: int, kind: str, count: int) -> None:
    spec, noise = SamplingSpec(scheduler=kind, num_steps=4), normal(seed, count, 2, 3, 4, 4)
    together = sample(lambda noisy, _: noisy.tanh(), noise, spec)
    alone = [sample(lambda noisy, _: noisy.tanh(), noise[k : k + 1], spec) for k in range(count)]
    assert torch.equal(together, torch.cat(alone))


@given(seeds, kinds)
def test_sampling_repeats_itself(seed: int, kind: str) -> None:
    spec = SamplingSpec(scheduler=kind, num_steps=4)
    noise = normal(seed, 1, 2, 3, 4, 4)
    first = sample(lambda noisy, _: noisy.tanh(), noise, spec)
    torch.rand(3)
    assert torch.equal(sample(lambda noisy, _: noisy.tanh(), noise, spec), first)


@given(seeds, st.sampled_from(["text", "cues"]))
@torch.no_grad()
def test_guidance_of_scale_one_is_no_guidance(seed: int, over: str) -> None:
    model, noisy, reference = model_of(seed), normal(seed, 1, 2, 4, 2, 3), normal(seed + 1, 1, 2, 4, 2, 3)
    text, timestep, cues = normal(seed + 2, 1, 2, 8), torch.tensor([500]), cues_of(seed)
    spec = SamplingSpec(guidance_scale=1.0, guidance_over=over)
    told = guided(model, reference, text, cues, spec)(noisy, timestep)
    assert torch.equal(told, model(noisy, reference, text, timestep, cues).velocity)


@given(seeds, st.sampled_from(["text", "cues"]), st.floats(1.01, 10))
@torch.no_grad()
def test_guidance_is_linear_from_the_null_branch_through_the_told_one(seed: int, over: str, scale: float) -> None:
    model, noisy, reference = model_of(seed), normal(seed, 1, 2, 4, 2, 3), normal(seed + 1, 1, 2, 4, 2, 3)
    text, timestep, cues = normal(seed + 2, 1, 2, 8), torch.tensor([500]), cues_of(seed)
    spec = SamplingSpec(guidance_scale=scale, guidance_over=over)
    null_text, null_cues = (text, None) if over == "cues" else (0 * text, cues)
    null = model(noisy, reference, null_text, timestep, null_cues).velocity
    told = model(noisy, reference, text, timestep, cues).velocity
    assert not torch.equal(null, told)
    expected = scale * told + (1 - scale) * null
    torch.testing.assert_close(
        guided(model, reference, text, cues, spec)(noisy, timestep), expected, rtol=1e-3, atol=1e-3
    )


@given(seeds)
def test_without_cues_guidance_over_cues_does_nothing(seed: int) -> None:
    model, noisy, reference = model_of(seed), normal(seed, 1, 2, 4, 2, 3), normal(seed + 1, 1, 2, 4, 2, 3)
    text, timestep = normal(seed + 2, 1, 2, 8), torch.tensor([500])
    specs = [SamplingSpec(guidance_scale=scale) for scale in (5.0, 1.0)]
    told, plain = (guided(model, reference, text, None, spec)(noisy, timestep) for spec in specs)
    torch.testing.assert_close(told, plain)


@given(seeds, kinds)
def test_a_generated_video_has_its_length_and_range_and_depends_on_cues(seed: int, kind: str) -> None:
    torch.manual_seed(seed)
    codec = PatchCodec(latent_channels=4, width=16, num_blocks=2).eval()
    codec.fit(torch.rand(800, 768))
    told = (model_of(seed), codec, normal(seed, 1, 1, 4, 2, 3), normal(seed, 1, 2, 8))
    noise, spec = normal(seed + 1, 1, 2, 4, 2, 3), SamplingSpec(scheduler=kind, num_steps=2)
    video = generate(*told, cues_of(seed), noise, spec)
    assert video.shape == (1, 5, 3, 16, 24)
    assert video.abs().max() <= 1
    assert not video.requires_grad
    other = dataclasses.replace(cues_of(seed), pose=normal(seed + 9, 1, 2, 4, 2, 3))
    assert not torch.equal(generate(*told, other, noise, spec), video)


@given(seeds, st.sampled_from([1, 3]))
def test_frames_that_fill_a_temporal_patch_are_sampled_as_all_others_and_left_out(seed: int, frames: int) -> None:
    torch.manual_seed(seed)
    model = build_transformer(SPEC.model_copy(update={"patch_size_t": 2})).eval()
    codec = PatchCodec(latent_channels=4, width=16, num_blocks=2).eval().fit(torch.rand(800, 768))
    cues, noise = cues_of(seed, frames), normal(seed, 1, frames + 1, 4, 2, 3)
    reference, text, spec = normal(seed + 1, 1, 1, 4, 2, 3), normal(seed + 2, 1, 2, 8), SamplingSpec(num_steps=2)
    denoise = guided(model, reference.expand_as(noise), text, cues.padded(1), spec)
    expected = codec.decode(sample(denoise, noise, spec)[:, 1:])
    assert torch.equal(generate(model, codec, reference, text, cues, noise, spec), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_sampler_keeps_single_precision(kind: str) -> None:
    noise = normal(0, 1, 1, 2, 2, 2)
    assert sample(lambda noisy, _: noisy.bfloat16(), noise, SamplingSpec(scheduler=kind)).dtype == torch.float32
