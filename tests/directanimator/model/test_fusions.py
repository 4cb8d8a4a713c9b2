"""What all ways of fusing the cues have in common, and what sets each apart."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from directanimator.errors import UserError
from directanimator.model.counts import LatentGrid, count_model
from directanimator.model.cue_fusion import CUE_PARAMETERS, CueFusionTransformer
from directanimator.model.cue_streams import CueLatents
from directanimator.model.embedded import build_transformer, load_base, load_transformer
from directanimator.model.spec import ModelSpec
from experiments.edit import edit
from experiments.presets import PRESETS
from tests.directanimator.model.test_cue_fusion import CHANNELS, CUE_NAMES, inputs, model_of, random_cues

FUSIONS = ["adaln", "concat", "cross_attention"]
OTHERS = ["concat", "cross_attention"]
SMALL = ModelSpec(
    base="random", num_layers=2, num_heads=2, head_dim=16, latent_channels=CHANNELS, time_embed_dim=24, text_embed_dim=8
)
PAPER = PRESETS["paper"].spec.model
seeds = st.integers(0, 2**31)
fusions = st.sampled_from(FUSIONS)


def spec_of(fusion: str, **changes: Any) -> ModelSpec:
    return SMALL.model_copy(update={"fusion": fusion, **changes})


def loss(model: CueFusionTransformer, told: tuple[Tensor, ...], cues: CueLatents) -> Tensor:
    return (model(*told, cues).velocity - 1).square().mean()


@given(fusions, seeds, st.sampled_from([1, 2]), st.sampled_from([None, 2]), st.sampled_from(["zero", "default"]))
def test_after_a_step_every_parameter_has_a_finite_gradient_that_is_not_zero(
    fusion: str, seed: int, patch: int, patch_t: int | None, init: str
) -> None:
    model = model_of(spec_of(fusion, patch_size=patch, patch_size_t=patch_t, cue_init=init), seed)
    told, cues = inputs(seed), random_cues(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(3):  # from zero, a cue reaches the output with the first step, what shapes it with the next
        optimizer.zero_grad()
        loss(model, told, cues).backward()
        optimizer.step()
    dead = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert dead == []
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())


@pytest.mark.parametrize("fusion", FUSIONS)
@torch.no_grad()
def test_a_trained_model_comes_back_bit_for_bit(fusion: str, tmp_path: Path) -> None:
    model, told, cues = model_of(spec_of(fusion), 3, trained=True), inputs(3), random_cues(3)
    model.save_pretrained(tmp_path)
    again = load_transformer(tmp_path, spec_of(fusion))
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    theirs: CueFusionTransformer = CueFusionTransformer.from_pretrained(tmp_path)
    assert torch.equal(again(*told, cues).velocity, model(*told, cues).velocity)
    assert torch.equal(theirs(*told, cues).velocity, model(*told, cues).velocity)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("other", FUSIONS)
@torch.no_grad()
def test_a_base_serves_every_fusion_and_a_trained_model_only_its_own(fusion: str, other: str, tmp_path: Path) -> None:
    trained = model_of(spec_of(fusion), 3, trained=True)
    trained.save_pretrained(tmp_path)
    model, told = model_of(spec_of(other), 4), inputs(4)
    load_base(model, tmp_path)
    assert torch.equal(model(*told, random_cues(4)).velocity, trained(*told, None).velocity)
    if fusion != other:
        with pytest.raises(UserError, match="another architecture"):
            load_transformer(tmp_path, spec_of(other))


@given(st.sampled_from(OTHERS), seeds, st.sampled_from(["pose", "face"]), st.integers(0, 1))
@torch.no_grad()
def test_an_absent_frame_is_deaf_to_its_cue(fusion: str, seed: int, stream: str, frame: int) -> None:
    model, told = model_of(spec_of(fusion), seed, trained=True), inputs(seed)
    cues, other = random_cues(seed), random_cues(seed)
    for told_of in (cues, other):
        getattr(told_of, f"{stream}_present")[:, frame] = False
    getattr(other, stream)[:, frame] += 10
    assert torch.equal(model(*told, cues).velocity, model(*told, other).velocity)


@given(seeds, st.sampled_from([1, 2]), st.sampled_from([None, 2]))
@torch.no_grad()
def test_concat_is_the_base_with_a_wider_input(seed: int, patch: int, patch_t: int | None) -> None:
    """Cues joined to the input's channels, each read by weights of its own."""
    model = model_of(spec_of("concat", patch_size=patch, patch_size_t=patch_t), seed, trained=True)
    told, cues = inputs(seed), random_cues(seed)
    volume = torch.cat([*told[:2], cues.pose, cues.body_mask, cues.face, cues.face_mask], dim=2).transpose(1, 2)
    p = (patch_t or 1, patch, patch)
    base = model.patch_embed.proj.weight
    base = base.view(base.shape[0], *((2 * CHANNELS, *p) if patch_t is None else (-1, *p)))
    embeds = (model.pose_embed, model.face_embed)
    bias = sum(embed.proj.bias for embed in embeds)
    bias = bias if model.patch_embed.proj.bias is None else bias + model.patch_embed.proj.bias
    wide = torch.cat([base, *(embed.proj.weight for embed in embeds)], dim=1)
    joined = F.conv3d(volume, wide, bias, stride=p).flatten(2).transpose(1, 2)
    hidden, text, temb, rotary, streams = model._start(*told, cues)
    found = model.transformer_blocks[0](hidden, text, temb, rotary, streams)
    expected = model.transformer_blocks[0](joined, text, temb, rotary, None)
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-4, atol=1e-4)
    assert found[2] is None


@given(seeds, st.integers(0, 1))
@torch.no_grad()
def test_only_cross_attention_carries_a_cue_to_other_places_without_the_joint_attention(seed: int, frame: int) -> None:
    reached = {}
    for fusion in FUSIONS:
        model, told = model_of(spec_of(fusion, num_layers=1), seed, trained=True), inputs(seed)
        torch.nn.init.zeros_(model.transformer_blocks[0].attn1.to_out[0].weight)
        cues, other = random_cues(seed), random_cues(seed)
        other.pose[:, frame] += 1
        elsewhere = [model(*told, said).velocity[:, 1 - frame] for said in (cues, other)]
        reached[fusion] = not torch.equal(*elsewhere)
    assert reached == {"adaln": False, "concat": False, "cross_attention": True}


@given(seeds)
@torch.no_grad()
def test_cross_attention_knows_where_a_cue_is(seed: int) -> None:
    """Without positions, tokens of a cue in another order would tell the same."""
    model, told, cues = model_of(spec_of("cross_attention"), seed, trained=True), inputs(seed), random_cues(seed)
    names = ("pose", "body_mask", "face", "face_mask")
    turned = dataclasses.replace(cues, **{name: getattr(cues, name).flip(1) for name in names})
    assert not torch.allclose(model(*told, cues).velocity, model(*told, turned).velocity)


@given(seeds, st.sampled_from(CUE_NAMES[:2]))
@torch.no_grad()
def test_every_block_of_cross_attention_asks_the_cues(seed: int, name: str) -> None:
    model, told, cues = model_of(spec_of("cross_attention"), seed, trained=True), inputs(seed), random_cues(seed)
    other = dataclasses.replace(cues, **{name: getattr(random_cues(seed + 5), name)})
    for deaf in model.transformer_blocks:
        kept = deaf.cues.to_out.weight.clone()
        deaf.cues.to_out.weight.zero_()
        assert not torch.equal(model(*told, cues).velocity, model(*told, other).velocity)
        deaf.cues.to_out.weight.copy_(kept)


@pytest.mark.parametrize("fusion", OTHERS)
@pytest.mark.parametrize(
    ("path", "value"), [("cue_carry", "ungated"), ("cue_carry", "modulated"), ("cue_entry", "attention")]
)
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_an_option_of_the_paper_s_fusion_is_refused_with_another(
    fusion: str, path: str, value: str, preset: str
) -> None:
    wanted = f"model: {path}={value} needs fusion=adaln, and fusion={fusion} has no"
    with pytest.raises(UserError, match=f"^{re.escape(wanted)}[^\n]*$"):
        edit(PRESETS[preset].spec, {"model.fusion": fusion, f"model.{path}": value})


def test_a_mistyped_fusion_is_told_the_legal_ones() -> None:
    with pytest.raises(UserError, match=re.escape("model.fusion=adanl: must be one of adaln, concat, cross_attention")):
        edit(PRESETS["cpu"].spec, {"model.fusion": "adanl"})


def weights(spec: ModelSpec) -> tuple[int, int]:
    """Parameters of the base and of the cues of a model that is made."""
    with torch.device("meta"):
        model = build_transformer(spec)
    cues = sum(p.numel() for n, p in model.named_parameters() if any(part in n for part in CUE_PARAMETERS))
    return sum(p.numel() for p in model.parameters()) - cues, cues


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.usefixtures("unchecked_shapes")
def test_added_parameters_are_counted_at_every_scale(fusion: str, preset: str) -> None:
    spec = PRESETS[preset].spec.model.model_copy(update={"fusion": fusion})
    counts = count_model(spec, LatentGrid(1, 3, 8, 8))
    assert (counts.base_parameters, counts.cue_parameters) == weights(spec)


def test_at_full_scale_concat_adds_least_and_cross_attention_most() -> None:
    width, layers, patch = 3072, 42, (16 + 16) * 2 * 2 * 2
    embeds = 2 * (patch + 1) * width
    added = {fusion: weights(PAPER.model_copy(update={"fusion": fusion}))[1] for fusion in FUSIONS}
    assert added["concat"] == embeds
    assert added["cross_attention"] == embeds + layers * (4 * width**2 + 4 * width)
    assert added["adaln"] < 0.08 * 5_571_594_880 < added["cross_attention"]


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.usefixtures("unchecked_shapes")
def test_counted_bytes_grow_with_what_a_block_hands_on(fusion: str) -> None:
    """With checkpointing a further block keeps its input: video and text tokens, and streams only if it makes them."""
    grid, width = LatentGrid(2, 3, 8, 8), SMALL.width
    some, more = (count_model(spec_of(fusion, num_layers=n), grid).checkpointed_bytes for n in (2, 3))
    video, text = grid.frames * 64, SMALL.max_text_tokens
    assert more - some == 4 * grid.batch * width * (text + video * (3 if fusion == "adaln" else 1))
