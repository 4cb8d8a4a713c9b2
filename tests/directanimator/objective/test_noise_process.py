"""The relations of flow matching at every timestep, with diffusers' schedulers as the judge; which process is whose."""

import functools

import pytest
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from directanimator.objective.denoising import add_noise
from directanimator.objective.flow import flow_sigmas, flow_target, latents_from_flow, noise_from_flow
from directanimator.objective.noise_process import FlowMatching, NoiseProcess, VPrediction, make_process, make_sampler
from directanimator.objective.spec import SamplingSpec

LAST = 999
EVERY = torch.arange(LAST + 1)
seeds = st.integers(0, 2**31)
shifts = st.sampled_from([1.0, 3.0, 5.0, 16.0])


@functools.cache
def wan(shift: float) -> NoiseProcess:
    return make_process(SamplingSpec(scheduler="unipc", snr_shift_scale=shift))


def everywhere(seed: int, shift: float) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Latents, noise, noisy latents and rates at every timestep there is."""
    latents, noise = torch.randn(2, LAST + 1, 2, 3, generator=torch.Generator().manual_seed(seed))
    rates = wan(shift).rates(EVERY, latents.ndim)
    return latents, noise, add_noise(latents, noise, rates), rates


@given(seeds, shifts)
def test_latents_and_noise_come_back_from_the_target_at_every_timestep(seed: int, shift: float) -> None:
    latents, noise, noisy, rates = everywhere(seed, shift)
    target = wan(shift).target(latents, noise, rates)
    torch.testing.assert_close(latents_from_flow(noisy, target, rates), latents, rtol=0, atol=2e-6)
    torch.testing.assert_close(noise_from_flow(noisy, target, rates), noise, rtol=0, atol=2e-6)


@given(seeds, shifts, st.integers(0, LAST))
def test_noisy_latents_and_what_is_told_agree_with_diffusers(seed: int, shift: float, timestep: int) -> None:
    latents, noise, noisy, _ = everywhere(seed, shift)
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
    told = wan(shift).told(EVERY)
    torch.testing.assert_close(told.flip(0), theirs.timesteps)
    one = slice(timestep, timestep + 1)
    judged = theirs.scale_noise(latents[one], theirs.timesteps[LAST - timestep][None], noise[one])
    torch.testing.assert_close(noisy[one], judged)


@given(seeds, shifts)
def test_the_target_is_the_velocity_of_the_noisy_latents(seed: int, shift: float) -> None:
    """The finite difference along sigma; the last timestep is noise alone, whose target still tells the latents."""
    latents, noise, noisy, rates = everywhere(seed, shift)
    nearer, farther = (torch.full((1, 1, 1), share) for share in (0.25, 0.75))
    one, other = (add_noise(latents, noise, (1 - s, s)) for s in (nearer, farther))
    torch.testing.assert_close((other - one) / 0.5, flow_target(latents, noise), rtol=0, atol=1e-5)
    assert torch.equal(noisy[LAST], noise[LAST])
    assert [float(rate[LAST]) for rate in rates] == [0, 1]


@given(shifts, shifts)
def test_sigmas_rise_and_a_larger_shift_lies_nearer_to_noise(shift: float, other: float) -> None:
    low, high = (flow_sigmas(value) for value in sorted((shift, other)))
    assert (low.diff() > 0).all()
    assert (low <= high).all()
    assert float(low[0]) < 0.02


@given(shifts, st.integers(1, 60))
def test_the_published_scheduler_walks_the_shifted_line(shift: float, num_steps: int) -> None:
    """UniPC as Wan ships it, and Euler on evenly shifted steps from noise alone to none."""
    published = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)
    published.set_timesteps(num_steps)
    ours, euler = (
        make_sampler(SamplingSpec(scheduler=kind, num_steps=num_steps, snr_shift_scale=shift))
        for kind in ("unipc", "euler")
    )
    assert torch.equal(ours.sigmas, published.sigmas)
    assert ours.config.solver_order == published.config.solver_order
    u = torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)
    torch.testing.assert_close(euler.sigmas.double(), shift * u / (1 + (shift - 1) * u), rtol=1e-5, atol=1e-6)
    assert len(euler.timesteps) == num_steps


@pytest.mark.parametrize(
    ("kind", "process"), [("ddim", VPrediction), ("dpm", VPrediction), ("euler", FlowMatching), ("unipc", FlowMatching)]
)
def test_each_scheduler_samples_what_its_process_trains(kind: str, process: type) -> None:
    assert isinstance(make_process(SamplingSpec(scheduler=kind)), process)


@given(st.integers(0, LAST))
def test_cogvideox_is_told_the_timestep_itself(timestep: int) -> None:
    told = make_process(SamplingSpec()).told(torch.tensor([timestep]))
    assert told.tolist() == [timestep]
    assert told.dtype == torch.int64
