"""Draws belong to sample numbers alone, and processes share a global batch without overlap."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from directanimator.training.batch import Draw, draw_for, gaussian_noise, samples_of

worlds = st.integers(1, 8)
steps = st.integers(0, 10_000)
numbers = st.integers(0, 2**31)


def values(draw: Draw) -> list[float]:
    return [draw.noise_seed, *draw.rng.random(3)]


@given(steps, worlds, st.integers(1, 6))
def test_processes_together_take_the_global_batch_in_order(step: int, world: int, device: int) -> None:
    size = world * device
    taken = [number for rank in range(world) for number in samples_of(step, size, rank, world)]
    assert taken == list(samples_of(step, size, 0, 1))


@given(st.integers(1, 20), st.integers(1, 8))
def test_steps_together_take_every_sample_once(count: int, size: int) -> None:
    taken = [number for step in range(count) for number in samples_of(step, size, 0, 1)]
    assert taken == list(range(count * size))


@given(st.integers(1, 32), st.integers(2, 9))
def test_a_batch_that_does_not_divide_is_refused(size: int, world: int) -> None:
    if size % world == 0:
        size += 1
    with pytest.raises(ValueError, match=f"{size} does not divide over {world}"):
        samples_of(0, size, 0, world)


@given(numbers, st.integers(0, 3), numbers)
def test_a_draw_is_a_function_of_seed_stage_and_sample(seed: int, stage: int, sample: int) -> None:
    assert values(draw_for(seed, stage, sample)) == values(draw_for(seed, stage, sample))


@given(numbers, st.integers(0, 3), numbers, st.sampled_from([(1, 0, 0), (0, 1, 0), (0, 0, 1)]))
def test_other_seeds_stages_and_samples_draw_otherwise(seed: int, stage: int, sample: int, by: tuple[int, ...]) -> None:
    here = draw_for(seed, stage, sample)
    there = draw_for(*(a + b for a, b in zip((seed, stage, sample), by, strict=True)))
    assert here.noise_seed != there.noise_seed
    assert here.rng.random() != there.rng.random()


@given(numbers, st.integers(2, 4))
def test_noise_of_a_sample_does_not_depend_on_its_neighbors(seed: int, batch: int) -> None:
    draws = [draw_for(seed, 1, sample) for sample in range(batch)]
    together = gaussian_noise(draws, (2, 3))
    alone = torch.cat([gaussian_noise([draw], (2, 3)) for draw in draws])
    assert torch.equal(together, alone)
    assert len(together.flatten(1).unique(dim=0)) == batch


@given(numbers)
def test_noise_leaves_the_choices_and_the_global_generator_alone(seed: int) -> None:
    state = torch.get_rng_state()
    draw, other = draw_for(seed, 1, 0), draw_for(seed, 1, 0)
    gaussian_noise([draw], (4,))
    assert draw.rng.random() == other.rng.random()
    assert torch.equal(torch.get_rng_state(), state)


@given(numbers)
def test_noise_is_standard_normal(seed: int) -> None:
    noise = gaussian_noise([draw_for(seed, 1, sample) for sample in range(4)], (5000,))
    assert float(noise.mean()) == pytest.approx(0, abs=0.05)
    assert float(noise.std()) == pytest.approx(1, abs=0.05)
    correlation = np.corrcoef(noise.numpy()) - np.eye(4)
    assert np.abs(correlation).max() < 0.1
