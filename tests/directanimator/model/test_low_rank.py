"""Low-rank updates: nothing changes before training, what is trained is what was asked for, merging keeps the model."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from directanimator.model.counts import LatentGrid, empty_inputs
from directanimator.model.cue_fusion import CUE_PARAMETERS, CueFusionTransformer
from directanimator.model.embedded import build_transformer, load_transformer
from directanimator.model.low_rank import add_low_rank, low_rank_parameters, merge_low_rank
from directanimator.model.spec import ModelSpec

SPEC = ModelSpec(base="random", num_layers=2, num_heads=2, head_dim=16, latent_channels=4, time_embed_dim=32)
seeds = st.integers(0, 2**31)
ranks = st.integers(1, 9)


def made(seed: int, **changes: object) -> CueFusionTransformer:
    torch.manual_seed(seed)
    return build_transformer(SPEC.model_copy(update=changes)).eval()


def velocity(model: CueFusionTransformer, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    inputs = empty_inputs(model, SPEC, LatentGrid(2, 3, 4, 4), torch.float32)
    for tensor in (*inputs[:3], *(value for value in vars(inputs[4]).values() if value.dtype == torch.float32)):
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
    inputs[3].fill_(500)
    for present in (inputs[4].pose_present, inputs[4].face_present):
        present.fill_(True)
    return model(*inputs).velocity


def shaken(model: CueFusionTransformer, seed: int) -> CueFusionTransformer:
    """The model after a training that changed all it could."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


@given(seeds, ranks, st.sampled_from(["zero", "default"]))
@settings(max_examples=3)
def test_fresh_updates_change_nothing(seed: int, rank: int, cue_init: str) -> None:
    plain, adapted = made(seed, cue_init=cue_init), made(seed, cue_init=cue_init)
    add_low_rank(adapted, rank, seed)
    assert torch.equal(velocity(adapted, seed), velocity(plain, seed))


@given(seeds, ranks)
@settings(max_examples=2)
def test_updates_and_cues_are_trained_and_the_base_is_not(seed: int, rank: int) -> None:
    model = made(seed)
    whole = {name: parameter for name, parameter in model.named_parameters()}
    cues = {name for name in whole if any(part in name for part in CUE_PARAMETERS)}
    add_low_rank(model, rank, seed)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert cues < trained.keys()
    assert {id(whole[name]) for name in cues} == {id(trained[name]) for name in cues}
    assert all("lora" in name for name in trained.keys() - cues)
    assert sum(parameter.numel() for name, parameter in trained.items() if name not in cues) == low_rank_parameters(
        SPEC, rank
    )
    velocity(shaken(model, seed)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)) == (name in trained), name


@given(seeds, ranks)
@settings(max_examples=3)
def test_merging_keeps_what_the_model_computes(seed: int, rank: int) -> None:
    model, plain = made(seed), made(seed)
    add_low_rank(model, rank, seed)
    shaken(model, seed)
    before = velocity(model, seed)
    assert not torch.allclose(before, velocity(plain, seed), atol=1e-3)
    merge_low_rank(model)
    torch.testing.assert_close(velocity(model, seed), before, rtol=1e-3, atol=1e-4)
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_a_merged_model_is_saved_and_loaded_as_any_other(tmp_path: Path) -> None:
    model = made(0)
    add_low_rank(model, 4, seed=0)
    shaken(model, 0)
    merge_low_rank(model)
    model.save_pretrained(tmp_path)
    assert torch.equal(velocity(load_transformer(tmp_path, SPEC)), velocity(model))


def test_merging_leaves_a_model_without_updates_alone() -> None:
    model = made(0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    merge_low_rank(model)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("seed", [0, 1])
def test_updates_start_from_the_seed_and_leave_the_global_generator_alone(seed: int) -> None:
    started = []
    for _ in range(2):
        model = made(0)
        state = torch.get_rng_state()
        add_low_rank(model, 4, seed)
        assert torch.equal(torch.get_rng_state(), state)
        started.append({name: value for name, value in model.named_parameters() if "lora_A" in name})
        torch.manual_seed(12345 + len(started))
    assert all(torch.equal(value, started[1][name]) for name, value in started[0].items())
