"""The relations of v-prediction, at every timestep, and with diffusers' schedulers as the judge."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from directanimator.objective.denoising import (
    add_noise,
    denoising_loss,
    latents_from_velocity,
    make_scheduler,
    noise_from_velocity,
    person_weights,
    signal_and_noise_rates,
    velocity_target,
)
from directanimator.objective.spec import SamplingSpec

LAST = 999
seeds = st.integers(0, 2**31)
timesteps = st.integers(0, LAST) | st.sampled_from([0, 1, LAST - 1, LAST])
shifts = st.sampled_from([1.0, 3.0])
person = st.floats(1, 100)


@functools.cache
def alphas(shift: float = 3.0) -> Tensor:
    return make_scheduler(SamplingSpec(snr_shift_scale=shift)).alphas_cumprod


def pair(seed: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    latents, noise = torch.randn(2, batch, 2, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return latents, noise


def coverage_of(seed: int, batch: int) -> Tensor:
    return torch.rand(batch, 2, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def evenly(batch: int) -> Tensor:
    return torch.ones(batch, 2, 1, 4, 4)


def rates_at(timestep: int, shift: float = 3.0) -> tuple[Tensor, Tensor]:
    return signal_and_noise_rates(alphas(shift), torch.tensor([timestep]), ndim=5)


@given(timesteps, shifts)
def test_squared_rates_add_to_one(timestep: int, shift: float) -> None:
    signal, noise = rates_at(timestep, shift)
    assert float(signal.double() ** 2 + noise.double() ** 2) == pytest.approx(1, abs=1e-6)


@given(shifts)
def test_signal_falls_from_nearly_one_to_exactly_zero(shift: float) -> None:
    a = alphas(shift)
    assert len(a) == LAST + 1
    assert (a.diff() < 0).all()
    assert float(a[0]) > 0.99
    assert float(a[-1]) == 0


@given(seeds, timesteps, shifts)
def test_latents_come_back_from_noisy_latents_and_velocity(seed: int, timestep: int, shift: float) -> None:
    (latents, noise), rates = pair(seed), rates_at(timestep, shift)
    noisy, velocity = add_noise(latents, noise, rates), velocity_target(latents, noise, rates)
    torch.testing.assert_close(latents_from_velocity(noisy, velocity, rates), latents, rtol=0, atol=1e-5)


@given(seeds, timesteps, shifts)
def test_noise_comes_back_from_noisy_latents_and_velocity(seed: int, timestep: int, shift: float) -> None:
    (latents, noise), rates = pair(seed), rates_at(timestep, shift)
    noisy, velocity = add_noise(latents, noise, rates), velocity_target(latents, noise, rates)
    torch.testing.assert_close(noise_from_velocity(noisy, velocity, rates), noise, rtol=0, atol=1e-5)


@given(seeds)
def test_without_any_signal_the_velocity_is_minus_the_latents(seed: int) -> None:
    (latents, noise), rates = pair(seed), rates_at(LAST)
    assert torch.equal(velocity_target(latents, noise, rates), -latents)
    assert torch.equal(add_noise(latents, noise, rates), noise)


@given(seeds, st.lists(timesteps, min_size=1, max_size=3), st.sampled_from(["ddim", "dpm"]))
def test_noise_and_velocity_agree_with_diffusers(seed: int, chosen: list[int], kind: str) -> None:
    latents, noise = pair(seed, len(chosen))
    timestep = torch.tensor(chosen)
    scheduler = make_scheduler(SamplingSpec(scheduler=kind))
    rates = signal_and_noise_rates(scheduler.alphas_cumprod, timestep, latents.ndim)
    torch.testing.assert_close(add_noise(latents, noise, rates), scheduler.add_noise(latents, noise, timestep))
    torch.testing.assert_close(velocity_target(latents, noise, rates), scheduler.get_velocity(latents, noise, timestep))


@given(seeds, st.integers(0, LAST - 1))
def test_velocity_loss_is_the_weighted_loss_of_the_latents(seed: int, timestep: int) -> None:
    (latents, noise), rates = pair(seed), rates_at(timestep)
    guess = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed + 1))
    noisy, target = add_noise(latents, noise, rates), velocity_target(latents, noise, rates)
    guessed = latents_from_velocity(noisy.double(), guess.double(), rates)
    expected = (guessed - latents).square().mean() / (1 - alphas()[timestep].double())
    assert float(denoising_loss(guess, target, evenly(1))) == pytest.approx(float(expected), rel=2e-3)


@given(seeds, st.integers(1, 4), person)
def test_loss_of_a_batch_is_the_mean_of_its_items(seed: int, batch: int, weight: float) -> None:
    guess, target = pair(seed, batch)
    weights = person_weights(coverage_of(seed, batch), weight)
    splits = (value.split(1) for value in (guess, target, weights))
    items = [denoising_loss(g, t, w) for g, t, w in zip(*splits, strict=True)]
    torch.testing.assert_close(denoising_loss(guess, target, weights), torch.stack(items).mean())


@given(seeds, st.integers(1, 4), person)
def test_weights_of_each_clip_have_mean_one(seed: int, batch: int, weight: float) -> None:
    weights = person_weights(coverage_of(seed, batch), weight)
    torch.testing.assert_close(weights.mean(dim=(1, 2, 3, 4)), torch.ones(batch))


@given(seeds, person)
def test_a_covered_cell_counts_the_given_number_of_times_as_much(seed: int, weight: float) -> None:
    coverage = coverage_of(seed, 2).round()
    weights = person_weights(coverage, weight)
    for clip, where in zip(weights, coverage, strict=True):
        covered, bare = clip[where == 1], clip[where == 0]
        torch.testing.assert_close(covered, (weight * bare[0]).expand_as(covered))


@given(seeds)
def test_with_weight_one_the_loss_is_the_plain_mean(seed: int) -> None:
    guess, target = pair(seed, 2)
    weights = person_weights(coverage_of(seed, 2), 1.0)
    torch.testing.assert_close(denoising_loss(guess, target, weights), torch.nn.functional.mse_loss(guess, target))


@given(seeds)
def test_loss_of_half_precision_guesses_is_computed_in_fp32(seed: int) -> None:
    guess, target = pair(seed)
    half = guess.bfloat16()
    assert torch.equal(denoising_loss(half, target, evenly(1)), denoising_loss(half.float(), target, evenly(1)))


def test_each_scheduler_of_the_spec_is_the_one_that_is_made() -> None:
    names = {kind: type(make_scheduler(SamplingSpec(scheduler=kind))).__name__ for kind in ("ddim", "dpm")}
    assert names == {"ddim": "CogVideoXDDIMScheduler", "dpm": "CogVideoXDPMScheduler"}
