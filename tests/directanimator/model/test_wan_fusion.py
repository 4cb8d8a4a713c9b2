"""The CueFusion blocks on Wan against diffusers' own Wan, and what cues may and may not do there."""

import dataclasses
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from directanimator.model.backbone import CueBackbone
from directanimator.model.counts import LatentGrid, count_model
from directanimator.model.cue_fusion import CUE_PARAMETERS
from directanimator.model.embedded import build_transformer, load_transformer
from directanimator.model.low_rank import add_low_rank, low_rank_parameters, merge_low_rank
from directanimator.model.spec import ModelSpec
from tests.directanimator.model.test_cue_fusion import (
    CHANNELS,
    CUE_NAMES,
    inputs,
    model_of,
    null_cues,
    random_cues,
    sample,
)

adaln_specs = st.builds(
    ModelSpec,
    backbone=st.just("wan"),
    base=st.just("random"),
    num_layers=st.just(2),
    num_heads=st.just(2),
    head_dim=st.sampled_from([16, 32]),
    latent_channels=st.just(CHANNELS),
    patch_size=st.sampled_from([1, 2]),
    feed_forward_dim=st.sampled_from([None, 40]),
    time_embed_dim=st.just(24),
    text_embed_dim=st.just(8),
    cue_entry=st.sampled_from(["residual", "attention"]),
    cue_carry=st.sampled_from(["gated", "ungated", "modulated"]),
)
specs = adaln_specs | st.builds(
    lambda spec, fusion: spec.model_copy(update={"fusion": fusion, "cue_entry": "residual", "cue_carry": "gated"}),
    adaln_specs,
    st.sampled_from(["concat", "cross_attention"]),
)
"""Of every way of fusing, as often the paper's as another."""
SPEC = ModelSpec(
    backbone="wan",
    base="random",
    num_layers=2,
    num_heads=2,
    head_dim=16,
    latent_channels=CHANNELS,
    patch_size=2,
    time_embed_dim=24,
    text_embed_dim=8,
)
seeds = st.integers(0, 2**31)
few = settings(max_examples=8)


def is_cue(name: str) -> bool:
    return any(part in name for part in CUE_PARAMETERS)


def wan_of(model: CueBackbone) -> WanTransformer3DModel:
    """Diffusers' model with the very weights, built by diffusers alone."""
    names = WanTransformer3DModel.__init__.__wrapped__.__code__.co_varnames
    base = WanTransformer3DModel(**{k: v for k, v in model.config.items() if k in names})
    base.load_state_dict({k: v for k, v in model.state_dict().items() if not is_cue(k)}, strict=True)
    return base.eval()


def wan_says(model: CueBackbone, told: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """As the pipeline of Wan2.2-TI2V-5B asks it: the image's latent frame first and at time 0; ours leaves it out."""
    noisy, reference, text, timestep = told
    volume = torch.cat([reference[:, :1], noisy], dim=1).transpose(1, 2)
    shown = torch.ones_like(volume[:, 0])
    shown[:, 0] = 0
    p = model.config.patch_size[1]
    times = (shown[:, :, ::p, ::p] * timestep.view(-1, 1, 1, 1)).flatten(1)
    return wan_of(model)(volume, times, text).sample.transpose(1, 2)[:, 1:]


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # of Wan's own norms, on a processor
@given(specs, seeds, st.booleans())
@few
@torch.no_grad()
def test_zero_initialised_cues_equal_wan_bit_for_bit(spec: ModelSpec, seed: int, halved: bool) -> None:
    model, told = model_of(spec, seed), inputs(seed)
    with torch.autocast("cpu", torch.bfloat16, enabled=halved):
        assert torch.equal(model(*told, random_cues(seed)).velocity, wan_says(model, told))


@given(specs, seeds)
@few
@torch.no_grad()
def test_without_cues_it_is_wan_whatever_the_cue_parameters(spec: ModelSpec, seed: int) -> None:
    model, told = model_of(spec, seed, trained=True), inputs(seed)
    assert torch.equal(model(*told, None).velocity, wan_says(model, told))


@given(specs, seeds)
@few
@torch.no_grad()
def test_a_null_cue_equals_a_dropped_cue(spec: ModelSpec, seed: int) -> None:
    model, told = model_of(spec, seed, trained=True), inputs(seed)
    dropped = model(*told, None).velocity
    assert torch.equal(model(*told, null_cues()).velocity, dropped)
    assert torch.equal(model(*told, random_cues(seed, present=False)).velocity, dropped)


@given(specs, seeds, st.sampled_from(CUE_NAMES[:4]))
@few
@torch.no_grad()
def test_trained_cues_matter(spec: ModelSpec, seed: int, name: str) -> None:
    model, told, cues = model_of(spec, seed, trained=True), inputs(seed), random_cues(seed)
    other = dataclasses.replace(cues, **{name: getattr(random_cues(seed + 5), name)})
    assert not torch.equal(model(*told, cues).velocity, model(*told, other).velocity)


@given(seeds, st.integers(0, 2))
@few
@torch.no_grad()
def test_with_a_mute_attention_a_cue_reaches_its_own_latent_frame_alone(seed: int, frame: int) -> None:
    """So cue tokens lie on the clip's tokens of their place, not on the reference's in front of them."""
    model, told = model_of(SPEC, seed, trained=True), inputs(seed, frames=3)
    for block in model.cue_blocks:
        torch.nn.init.zeros_(block.attn1.to_out[0].weight)
    cues, other = random_cues(seed, frames=3), random_cues(seed, frames=3)
    other.pose[:, frame, :, 2:, :2] += 5
    said, said_of_other = (model(*told, each, features_after=1) for each in (cues, other))
    changed = said.velocity != said_of_other.velocity
    assert changed[:, frame, :, 2:, :2].all()
    changed[:, frame, :, 2:, :2] = False
    assert not changed.any()
    tokens = (said.features != said_of_other.features).any(dim=2).unflatten(1, (3, 2, 3))
    assert tokens.nonzero()[:, 1:].unique(dim=0).tolist() == [[frame, 1, 0]]


@given(specs, seeds)
@few
@torch.no_grad()
def test_the_clip_hears_its_reference_and_its_own_time(spec: ModelSpec, seed: int) -> None:
    model, (noisy, reference, text, timestep) = model_of(spec, seed, trained=True), inputs(seed)
    said = model(noisy, reference, text, timestep, None).velocity
    assert not torch.equal(model(noisy, reference + 1, text, timestep, None).velocity, said)
    assert not torch.equal(model(noisy, reference, text + 1, timestep, None).velocity, said)
    assert not torch.equal(model(noisy, reference, text, (timestep + 300) % 1000, None).velocity, said)


@given(adaln_specs, seeds)
@few
@torch.no_grad()
def test_time_modulates_the_cues_too(spec: ModelSpec, seed: int) -> None:
    """Of a base that is deaf to time, the answer changes with time where there are cues, and only there."""
    model, (noisy, reference, text, timestep) = model_of(spec, seed, trained=True), inputs(seed)
    torch.nn.init.zeros_(model.condition_embedder.time_embedder.linear_2.weight)
    early, late = (
        [model(noisy, reference, text, time, cues).velocity for cues in (None, random_cues(seed))]
        for time in (timestep, (timestep + 300) % 1000)
    )
    assert torch.equal(early[0], late[0])
    assert not torch.equal(early[1], late[1])


@given(specs, seeds, st.sampled_from(["zero", "default"]))
@few
def test_every_cue_parameter_gets_a_finite_gradient_that_is_not_zero(spec: ModelSpec, seed: int, init: str) -> None:
    model = model_of(spec.model_copy(update={"cue_init": init}), seed)
    told, cues = inputs(seed), random_cues(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    for _ in range(3):  # from zero, a cue reaches the output with the first step, what shapes it with the next
        optimizer.zero_grad()
        (model(*told, cues).velocity - 1).square().mean().backward()
        optimizer.step()
    dead = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert dead == []
    assert all(value.grad.isfinite().all() for value in model.parameters())


@given(specs, seeds)
@few
@torch.no_grad()
def test_a_batch_says_what_its_items_say_alone(spec: ModelSpec, seed: int) -> None:
    model, told, cues = model_of(spec, seed, trained=True), inputs(seed), random_cues(seed)
    alone = [model(*(part[i : i + 1] for part in told), sample(cues, i)).velocity for i in range(2)]
    torch.testing.assert_close(model(*told, cues).velocity, torch.cat(alone), rtol=1e-4, atol=1e-5)


@given(specs, seeds, st.integers(1, 2))
@few
@torch.no_grad()
def test_features_are_the_clips_tokens_and_the_same_alone(spec: ModelSpec, seed: int, after: int) -> None:
    model, told, cues = model_of(spec, seed, trained=True), inputs(seed), random_cues(seed)
    whole = model(*told, cues, features_after=after)
    assert torch.equal(model.features(*told, cues, after=after), whole.features)
    assert torch.equal(whole.velocity, model(*told, cues).velocity)
    assert whole.features.shape == (2, 2 * (4 // spec.patch_size) * (6 // spec.patch_size), spec.width)


@given(specs, seeds)
@settings(max_examples=3)
def test_gradient_checkpointing_changes_nothing(spec: ModelSpec, seed: int) -> None:
    model, told, cues = model_of(spec, seed, trained=True), inputs(seed), random_cues(seed)
    grads = []
    for again in (False, True):
        (model.enable_gradient_checkpointing if again else model.disable_gradient_checkpointing)()
        model.zero_grad()
        model(*told, cues).velocity.square().mean().backward()
        grads.append({name: value.grad.clone() for name, value in model.named_parameters()})
    assert all(torch.equal(value, grads[1][name]) for name, value in grads[0].items())


@pytest.mark.parametrize("entry", ["residual", "attention"])
@torch.no_grad()
def test_a_saved_model_comes_back_bit_for_bit(tmp_path: Path, entry: str) -> None:
    spec = SPEC.model_copy(update={"cue_entry": entry})
    model, told, cues = model_of(spec, 0, trained=True), inputs(0), random_cues(0)
    model.save_pretrained(tmp_path, max_shard_size="30KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    again = load_transformer(tmp_path, spec)
    assert torch.equal(again(*told, cues).velocity, model(*told, cues).velocity)


@given(specs, seeds, st.integers(1, 5))
@settings(max_examples=3)
def test_low_rank_updates_start_as_nothing_and_are_trained_beside_the_cues(
    spec: ModelSpec, seed: int, rank: int
) -> None:
    model, told, cues = model_of(spec, seed, trained=True), inputs(seed), random_cues(seed)
    before = model(*told, cues).velocity
    add_low_rank(model, rank, seed)
    assert torch.equal(model(*told, cues).velocity, before)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    assert {name for name in dict(model.named_parameters()) if is_cue(name)} <= trained.keys()
    updates = [value for name, value in trained.items() if not is_cue(name)]
    assert sum(value.numel() for value in updates) == low_rank_parameters(spec, rank)
    assert sum("lora_A" in name for name in trained) == 10 * spec.num_layers  # self- and cross-attention, feed-forward
    merge_low_rank(model)
    assert model.state_dict().keys() == model_of(spec, seed).state_dict().keys()


@given(specs, st.integers(1, 4))
@settings(max_examples=3)
def test_counted_without_memory_it_has_the_parameters_of_one_that_is_made(spec: ModelSpec, layers: int) -> None:
    spec = spec.model_copy(update={"num_layers": layers})
    counts = count_model(spec, LatentGrid(1, 2, 4, 6))
    made = {name: value.numel() for name, value in build_transformer(spec).named_parameters()}
    assert counts.base_parameters == sum(count for name, count in made.items() if not is_cue(name))
    assert counts.parameters == sum(made.values())
    assert 0 < counts.checkpointed_bytes <= counts.activation_bytes


def test_the_published_size_is_counted() -> None:
    """5.0 B of Wan's own; cues of a tenth of that at most."""
    spec = ModelSpec(
        backbone="wan",
        base="random",
        num_layers=30,
        num_heads=24,
        head_dim=128,
        latent_channels=48,
        patch_size=2,
        feed_forward_dim=14336,
        time_embed_dim=512,
        text_embed_dim=4096,
        max_text_tokens=512,
    )
    counts = count_model(spec, LatentGrid(1, 13, 32, 32), torch.bfloat16)
    with torch.device("meta"):
        theirs = WanTransformer3DModel(
            num_attention_heads=24, in_channels=48, out_channels=48, ffn_dim=14336, num_layers=30
        )
    assert counts.base_parameters == sum(value.numel() for value in theirs.parameters())
    assert 4.9e9 < counts.base_parameters < 5.1e9
    assert counts.cue_parameters < 0.1 * counts.base_parameters


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbone": "wan", "base": "embedded"}, "base=embedded needs backbone=cogvideox"),
        ({"backbone": "wan", "patch_size_t": 2}, "patch_size_t=2 needs backbone=cogvideox; wan has none"),
        ({"backbone": "wan", "ofs_embed_dim": 8}, "ofs_embed_dim=8 needs backbone=cogvideox"),
        ({"backbone": "wan", "positions": "learned"}, "positions=learned needs backbone=cogvideox"),
        ({"backbone": "wan", "codec": "cogvideox"}, "codec=cogvideox needs backbone=cogvideox"),
        ({"backbone": "wan", "text_encoder": "t5"}, "text_encoder=t5 needs backbone=cogvideox"),
        ({"codec": "wan"}, "codec=wan needs backbone=wan"),
        ({"text_encoder": "umt5"}, "text_encoder=umt5 needs backbone=wan"),
        ({"feed_forward_dim": 40}, "feed_forward_dim=40 needs backbone=wan"),
    ],
)
def test_options_of_the_other_backbone_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ModelSpec(**{"base": "random", **changes})
