"""The CueFusion transformer against diffusers' own CogVideoX, and what cues may and may not do."""

import dataclasses

import pytest
import torch
from diffusers.models.embeddings import CogVideoXPatchEmbed
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from directanimator.model.cue_fusion import CUE_PARAMETERS, CueFusionTransformer, CueModulation
from directanimator.model.cue_streams import MASK_CHANNELS, CueEmbed, CueLatents, CueStream, Streams
from directanimator.model.embedded import build_transformer
from directanimator.model.spec import CueCarry, ModelSpec

CHANNELS = 4
CUE_NAMES = [field.name for field in dataclasses.fields(CueLatents)]

adaln_specs = st.builds(
    ModelSpec,
    base=st.just("random"),
    num_layers=st.just(2),
    num_heads=st.just(2),
    head_dim=st.just(16),
    latent_channels=st.just(CHANNELS),
    patch_size=st.sampled_from([1, 2]),
    patch_size_t=st.sampled_from([None, 2]),
    time_embed_dim=st.just(24),
    text_embed_dim=st.just(8),
    ofs_embed_dim=st.sampled_from([None, 24]),
    cue_entry=st.sampled_from(["residual", "attention"]),
    cue_carry=st.sampled_from(["gated", "ungated", "modulated"]),
)
specs = adaln_specs | st.builds(
    lambda spec, fusion: spec.model_copy(update={"fusion": fusion, "cue_entry": "residual", "cue_carry": "gated"}),
    adaln_specs,
    st.sampled_from(["concat", "cross_attention"]),
)
"""Of every way of fusing, as often the paper's as another."""
seeds = st.integers(0, 2**31)


def model_of(spec: ModelSpec, seed: int, trained: bool = False) -> CueFusionTransformer:
    """A model with random weights everywhere; the cue parameters too, if `trained`."""
    torch.manual_seed(seed)
    model = build_transformer(spec).eval()
    if trained:
        for name, parameter in model.named_parameters():
            if any(part in name for part in CUE_PARAMETERS):
                torch.nn.init.normal_(parameter, std=0.3)
    return model


def inputs(seed: int, frames: int = 2, batch: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    noisy, reference = torch.randn(2, batch, frames, CHANNELS, 4, 6, generator=generator)
    timestep = torch.randint(1000, (batch,), generator=generator)
    return noisy, reference, torch.randn(batch, 2, 8, generator=generator), timestep


def random_cues(seed: int, frames: int = 2, batch: int = 2, present: bool = True) -> CueLatents:
    generator = torch.Generator().manual_seed(seed + 1)
    pose, face = torch.randn(2, batch, frames, CHANNELS, 4, 6, generator=generator)
    body_mask, face_mask = torch.rand(2, batch, frames, MASK_CHANNELS, 4, 6, generator=generator)
    gates = torch.full((batch, frames), present)
    return CueLatents(pose, face, body_mask, face_mask, gates, gates.clone())


def null_cues(frames: int = 2, batch: int = 2) -> CueLatents:
    values = vars(random_cues(0, frames, batch)).items()
    return CueLatents(**{name: torch.zeros_like(value) for name, value in values})


def sample(cues: CueLatents, index: int) -> CueLatents:
    return CueLatents(**{name: value[index : index + 1] for name, value in vars(cues).items()})


def cogvideox_of(model: CueFusionTransformer) -> CogVideoXTransformer3DModel:
    """Diffusers' model with the very weights, built by diffusers alone."""
    names = CogVideoXTransformer3DModel.__init__.__wrapped__.__code__.co_varnames
    base = CogVideoXTransformer3DModel(**{k: v for k, v in model.config.items() if k in names})
    weights = {k: v for k, v in model.state_dict().items() if not any(part in k for part in CUE_PARAMETERS)}
    base.load_state_dict(weights, strict=True)
    return base.eval()


def cogvideox_says(model: CueFusionTransformer, told: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    noisy, reference, text, timestep = told
    stacked = torch.cat([noisy, reference], dim=2)
    rotary = model.rotary(*(noisy.shape[i] for i in (1, 3, 4)), device=noisy.device)
    offset = None if model.config.ofs_embed_dim is None else noisy.new_full((1,), 2.0)
    return cogvideox_of(model)(stacked, text, timestep, ofs=offset, image_rotary_emb=rotary).sample


@given(specs, seeds, st.booleans())
@torch.no_grad()
def test_zero_initialised_cues_equal_cogvideox_bit_for_bit(spec: ModelSpec, seed: int, halved: bool) -> None:
    model, told = model_of(spec, seed), inputs(seed)
    with torch.autocast("cpu", torch.bfloat16, enabled=halved):
        assert torch.equal(model(*told, random_cues(seed)).velocity, cogvideox_says(model, told))


@given(specs, seeds)
@torch.no_grad()
def test_without_cues_it_is_cogvideox_whatever_the_cue_parameters(spec: ModelSpec, seed: int) -> None:
    model, told = model_of(spec, seed, trained=True), inputs(seed)
    assert torch.equal(model(*told, None).velocity, cogvideox_says(model, told))


@given(specs, seeds)
@torch.no_grad()
def test_gates_at_zero_leave_the_base_path(spec: ModelSpec, seed: int) -> None:
    model, told = model_of(spec, seed, trained=True), inputs(seed)
    closed = random_cues(seed, present=False)
    assert torch.equal(model(*told, closed).velocity, model(*told, None).velocity)


@given(specs, seeds)
@torch.no_grad()
def test_a_null_cue_equals_a_dropped_cue(spec: ModelSpec, seed: int) -> None:
    model, told = model_of(spec, seed, trained=True), inputs(seed)
    assert torch.equal(model(*told, null_cues()).velocity, model(*told, None).velocity)


@given(specs, seeds, st.sampled_from(CUE_NAMES[:4]))
@torch.no_grad()
def test_trained_cues_matter(spec: ModelSpec, seed: int, name: str) -> None:
    model, told, cues = model_of(spec, seed, trained=True), inputs(seed), random_cues(seed)
    other = dataclasses.replace(cues, **{name: getattr(random_cues(seed + 5), name)})
    assert not torch.equal(model(*told, cues).velocity, model(*told, other).velocity)


@given(seeds, st.sampled_from(["pose", "face"]), st.integers(0, 2))
@torch.no_grad()
def test_a_cue_absent_in_one_latent_frame_adds_nothing_there(seed: int, absent: str, frame: int) -> None:
    spec = ModelSpec(base="random", num_layers=2, num_heads=2, head_dim=16, latent_channels=CHANNELS, time_embed_dim=24)
    model, cues = model_of(spec, seed, trained=True), random_cues(seed, frames=3)
    for name in ("pose_present", "face_present"):
        getattr(cues, name)[:, frame] = not name.startswith(absent)
    temb = torch.randn(2, 24, generator=torch.Generator().manual_seed(seed))
    streams = model._streams(cues)
    added, _ = model.transformer_blocks[0].cues(streams, temb)
    kept = {"pose": streams.pose, "face": streams.face}
    kept[absent] = kept[absent]._replace(present=torch.zeros_like(kept[absent].present))
    alone, _ = model.transformer_blocks[0].cues(Streams(**kept), temb)
    there = added.unflatten(1, (3, -1))
    assert torch.equal(there[:, frame], alone.unflatten(1, (3, -1))[:, frame])
    assert not torch.equal(there[:, frame - 1], alone.unflatten(1, (3, -1))[:, frame - 1])


@given(seeds, st.integers(0, 1))
@torch.no_grad()
def test_an_absent_frame_is_deaf_to_its_cue(seed: int, frame: int) -> None:
    spec = ModelSpec(base="random", num_layers=2, num_heads=2, head_dim=16, latent_channels=CHANNELS, text_embed_dim=8)
    model, told = model_of(spec, seed, trained=True), inputs(seed)
    cues, other = random_cues(seed), random_cues(seed)
    cues.pose_present[:, frame] = False
    other.pose_present[:, frame] = False
    other.pose[:, frame] += 10
    other.body_mask[:, frame] = 0
    assert torch.equal(model(*told, cues).velocity, model(*told, other).velocity)


@given(seeds, st.sampled_from([1, 2]), st.sampled_from([None, 2]))
@torch.no_grad()
def test_cue_tokens_come_in_the_order_of_video_tokens(seed: int, patch: int, patch_t: int | None) -> None:
    torch.manual_seed(seed)
    video = CogVideoXPatchEmbed(
        patch_size=patch,
        patch_size_t=patch_t,
        in_channels=CHANNELS + MASK_CHANNELS,
        embed_dim=16,
        text_embed_dim=8,
        use_positional_embeddings=False,
        use_learned_positional_embeddings=False,
    )
    cue = CueEmbed(CHANNELS, 16, patch, patch_t)
    weight = video.proj.weight.unflatten(1, (-1, 2, patch, patch)) if patch_t else video.proj.weight[:, :, None]
    cue.proj.weight.copy_(weight)
    cue.proj.bias.copy_(video.proj.bias)
    latents, mask = torch.randn(2, 4, CHANNELS, 4, 6), torch.rand(2, 4, MASK_CHANNELS, 4, 6)
    tokens = video(torch.zeros(2, 3, 8), torch.cat([latents, mask], dim=2))[:, 3:]
    torch.testing.assert_close(cue(latents, mask), tokens)


@given(specs.filter(lambda spec: spec.fusion != "concat"), seeds)
@torch.no_grad()
def test_cues_start_reading_latents_as_the_base_reads_noisy_latents(spec: ModelSpec, seed: int) -> None:
    model, (noisy, reference, text, _) = model_of(spec, seed), inputs(seed)
    stacked = torch.cat([noisy, torch.zeros_like(reference)], dim=2)
    tokens = model.patch_embed(text, stacked)[:, text.shape[1] :]
    if model.patch_embed.proj.bias is not None:
        tokens = tokens - model.patch_embed.proj.bias
    for embed in (model.pose_embed, model.face_embed):
        torch.testing.assert_close(embed(noisy, torch.rand(2, 2, MASK_CHANNELS, 4, 6)), tokens)


@given(adaln_specs, seeds)
@torch.no_grad()
def test_only_where_cues_enter_the_residual_stream_do_they_reach_a_token_past_a_mute_attention(
    spec: ModelSpec, seed: int
) -> None:
    model, told = model_of(spec, seed, trained=True), inputs(seed)
    for block in model.transformer_blocks:
        torch.nn.init.zeros_(block.attn1.to_out[0].weight)
    one, other = (model(*told, random_cues(seed + shift)).velocity for shift in (0, 5))
    assert torch.equal(one, other) == (spec.cue_entry == "attention")


@given(adaln_specs, seeds)
@torch.no_grad()
def test_cues_of_the_first_block_add_to_the_tokens_it_is_given(spec: ModelSpec, seed: int) -> None:
    """Entering the residual stream is what CogVideoX's own block makes of tokens with the cues added."""
    residual = spec.model_copy(update={"cue_entry": "residual"})
    model, (noisy, reference, text, timestep) = model_of(residual, seed, trained=True), inputs(seed)
    hidden, words, temb, rotary, streams = model._start(noisy, reference, text, timestep, random_cues(seed))
    block = model.transformer_blocks[0]
    added, handed_on = block.cues(streams, temb)
    told = block(hidden + added, words, temb, rotary, None)
    found = block(hidden, words, temb, rotary, streams)
    assert torch.equal(found[0], told[0])
    assert torch.equal(found[1], told[1])
    assert torch.equal(found[2].pose.tokens, handed_on.pose.tokens)


@given(seeds)
def test_time_enters_cues_only_through_the_modulation(seed: int) -> None:
    torch.manual_seed(seed)
    modulation, temb = CueModulation(24, 16, "default"), torch.randn(2, 24)
    streams = Streams(*(CueStream(torch.randn(2, 5, 16), torch.ones(2, 5, 1)) for _ in range(2)))
    torch.nn.init.zeros_(modulation.linear.weight)
    early, late = modulation(streams, temb), modulation(streams, -3 * temb)
    torch.testing.assert_close(early, late, rtol=0, atol=0)


@given(seeds)
def test_modulation_is_equations_one_to_three(seed: int) -> None:
    torch.manual_seed(seed)
    modulation, temb = CueModulation(24, 16, "default"), torch.randn(1, 24)
    pose, face = torch.randn(1, 5, 16), torch.randn(1, 5, 16)
    seen, absent = CueStream(pose, torch.ones(1, 5, 1)), CueStream(face, torch.zeros(1, 5, 1))
    added, handed_on = modulation(Streams(seen, absent), temb)
    alpha, beta, gamma, face_alpha, face_beta, face_gamma = modulation.linear(temb * temb.sigmoid()).view(6, 1, 16)
    torch.testing.assert_close(added, modulation.norm_pose(pose) * (1 + alpha) + beta)
    torch.testing.assert_close(handed_on.pose.tokens, pose + gamma * added)
    face_modulated = modulation.norm_face(face) * (1 + face_alpha) + face_beta
    torch.testing.assert_close(handed_on.face.tokens, face + face_gamma * face_modulated)


@given(seeds, st.sampled_from(["gated", "ungated", "modulated"]))
def test_what_is_handed_on_is_the_raw_cue_the_modulated_one_or_both(seed: int, carry: CueCarry) -> None:
    torch.manual_seed(seed)
    modulation, temb = CueModulation(24, 16, "default", carry), torch.randn(1, 24)
    streams = Streams(*(CueStream(torch.randn(1, 5, 16), torch.ones(1, 5, 1)) for _ in range(2)))
    gammas = modulation.linear(temb * temb.sigmoid()).view(6, 16)[[2, 5]]
    added = [modulation(Streams(*(s if s is one else s._replace(present=0 * s.present) for s in streams)), temb)[0]
             for one in streams]  # fmt: skip
    _, handed_on = modulation(streams, temb)
    for stream, gamma, modulated, found in zip(streams, gammas, added, handed_on, strict=True):
        kept = {"gated": stream.tokens, "ungated": stream.tokens, "modulated": modulated}[carry]
        share = {"gated": gamma, "ungated": 1.0, "modulated": gamma}[carry]
        torch.testing.assert_close(found.tokens, kept + share * modulated)


@given(adaln_specs.map(lambda spec: spec.model_copy(update={"cue_init": "zero"})), seeds)
def test_from_zero_every_block_hears_its_cues_after_two_steps(spec: ModelSpec, seed: int) -> None:
    model, told, cues = model_of(spec, seed), inputs(seed), random_cues(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (model(*told, cues).velocity - 1).square().mean().backward()
        optimizer.step()
    assert all(block.cues.norm_pose.weight.any() for block in model.transformer_blocks)


@given(specs, seeds, st.integers(1, 2))
@torch.no_grad()
def test_features_alone_equal_the_features_of_the_whole_pass(spec: ModelSpec, seed: int, after: int) -> None:
    model, told, cues = model_of(spec, seed, trained=True), inputs(seed), random_cues(seed)
    assert torch.equal(model.features(*told, cues, after=after), model(*told, cues, features_after=after).features)


@given(specs, seeds)
@torch.no_grad()
def test_asking_for_features_leaves_the_velocity(spec: ModelSpec, seed: int) -> None:
    model, told, cues = model_of(spec, seed, trained=True), inputs(seed), random_cues(seed)
    assert torch.equal(model(*told, cues, features_after=1).velocity, model(*told, cues).velocity)
    assert model(*told, cues).features is None


@given(specs, seeds)
@torch.no_grad()
def test_a_batch_says_what_its_items_say_alone(spec: ModelSpec, seed: int) -> None:
    model, told, cues = model_of(spec, seed, trained=True), inputs(seed), random_cues(seed)
    alone = [model(*(part[i : i + 1] for part in told), sample(cues, i)).velocity for i in range(2)]
    torch.testing.assert_close(model(*told, cues).velocity, torch.cat(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_latent_frames_that_fill_no_temporal_patch_are_refused(frames: int) -> None:
    shape = {"num_layers": 1, "num_heads": 2, "head_dim": 16, "latent_channels": CHANNELS, "text_embed_dim": 8}
    spec = ModelSpec(base="random", patch_size_t=2, **shape)
    with pytest.raises(ValueError, match=f"multiples of 2, got {frames}"):
        model_of(spec, 0)(*inputs(0, frames), None)


@given(st.integers(1, 40), st.none() | st.integers(1, 4))
def test_padded_frames_are_the_fewest_that_fill_temporal_patches(frames: int, patch: int | None) -> None:
    padded = ModelSpec(base="random", patch_size_t=patch).padded(frames)
    assert padded % (patch or 1) == 0
    assert 0 <= padded - frames < (patch or 1)


@given(seeds)
def test_gradient_checkpointing_changes_no_gradient(seed: int) -> None:
    spec = ModelSpec(base="random", num_layers=2, num_heads=2, head_dim=16, latent_channels=CHANNELS, text_embed_dim=8)
    model, told, cues = model_of(spec, seed, trained=True), inputs(seed), random_cues(seed)
    model(*told, cues).velocity.square().mean().backward()
    plain = [parameter.grad for parameter in model.parameters()]
    model.zero_grad(set_to_none=True)
    model.enable_gradient_checkpointing()
    model.train()(*told, cues).velocity.square().mean().backward()
    torch.testing.assert_close([parameter.grad for parameter in model.parameters()], plain)


@given(specs, seeds)
def test_every_parameter_gets_a_gradient(spec: ModelSpec, seed: int) -> None:
    model, told = model_of(spec, seed, trained=True), inputs(seed)
    model(*told, random_cues(seed)).velocity.square().mean().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("patch_size_t", [None, 2])
def test_positions_cover_the_latents_of_512_pixels(patch_size_t: int | None) -> None:
    spec = ModelSpec(
        base="random",
        num_layers=1,
        num_heads=1,
        head_dim=64,
        latent_channels=2,
        patch_size=2,
        patch_size_t=patch_size_t,
    )
    with torch.device("meta"):
        model = build_transformer(spec)
    rotary = model.rotary(14, 64, 64, device=torch.device("cpu"))
    assert rotary is not None
    assert [len(part) for part in rotary] == [14 // (patch_size_t or 1) * 32 * 32] * 2


@pytest.mark.parametrize("patch_size_t", [None, 2])
@pytest.mark.usefixtures("unchecked_shapes")
def test_positions_of_tokens_all_differ(patch_size_t: int | None) -> None:
    model = model_of(ModelSpec(base="random", num_layers=1, num_heads=2, head_dim=16, patch_size_t=patch_size_t), 0)
    rotary = model.rotary(4, 6, 5, device=torch.device("cpu"))
    assert rotary is not None
    joined = torch.cat(rotary, dim=1)
    assert len(joined.unique(dim=0)) == len(joined)
