"""What the two stages feed the model, and what their losses touch."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from directanimator.cues.spec import CueSpec, FaceCueSpec
from directanimator.model.backbone import CueBackbone, CueFusionOutput
from directanimator.model.cue_fusion import CUE_PARAMETERS
from directanimator.model.embedded import build_transformer
from directanimator.model.spec import ModelSpec
from directanimator.objective.denoising import make_scheduler, person_weights
from directanimator.objective.noise_process import make_process
from directanimator.objective.spec import DenoisingSpec, SamplingSpec
from directanimator.training.batch import DenoisingBatch, denoising_objective
from directanimator.training.spec import OptimSpec, Same2XSpec
from directanimator.training.stages import (
    CROSS_ID,
    HELD_OUT_TIMESTEPS,
    SAME_ID,
    BatchSource,
    cross_id_objective,
    held_out_loss,
    no_text,
)

MODEL = ModelSpec(
    base="random", num_layers=2, num_heads=2, head_dim=16, latent_channels=4, time_embed_dim=16, text_embed_dim=8
)
OPTIM = OptimSpec(global_batch_size=4, cue_dropout=0.25)
BACKBONES = {
    "cogvideox": (MODEL, make_process(SamplingSpec())),
    "wan": (MODEL.model_copy(update={"backbone": "wan"}), make_process(SamplingSpec(scheduler="unipc"))),
}
PROCESS = BACKBONES["cogvideox"][1]
ITEMS = 6
steps = st.integers(0, 1000)
seeds = st.integers(0, 2**31)


@functools.cache
def pool() -> dict[str, np.ndarray]:
    """Items that differ from each other, and whose cues differ between the settings."""
    rng = np.random.default_rng(0)
    made = {
        "latents": rng.standard_normal((ITEMS, 2, 4, 2, 3)),
        "reference": rng.standard_normal((ITEMS, 1, 4, 2, 3)),
    }
    for setting in ("own", "cross"):
        made |= {f"{setting}_{name}": rng.standard_normal((ITEMS, 2, 4, 2, 3)) for name in ("pose", "face")}
        made[f"{setting}_masks"] = rng.uniform(0.1, 1, (ITEMS, 2, 2, 16, 2, 3))
    halves = {name: value.astype(np.float16) for name, value in made.items()}
    return halves | {f"{setting}_present": np.ones((ITEMS, 2, 2), np.bool_) for setting in ("own", "cross")}


def source(stage: int = CROSS_ID, share: float = 0.5, optim: OptimSpec = OPTIM, **changes: object) -> BatchSource:
    told = {"stage": stage, "same_id_share": share, "empty_text": no_text(MODEL), "latent_frames": 2}
    made = BatchSource(pool(), CueSpec(), optim, DenoisingSpec(), seed=5, **told)
    return dataclasses.replace(made, **changes)


@given(steps, st.sampled_from([SAME_ID, CROSS_ID]), st.integers(1, 3))
def test_frames_that_fill_a_temporal_patch_repeat_the_first_one_under_noise_of_their_own(
    step: int, stage: int, more: int
) -> None:
    """What CogVideoX 1.5 was trained with: a repeated frame without noise of its own would be noise of another kind."""
    plain, padded = (source(stage, latent_frames=2 + extra).batch_at(step) for extra in (0, more))
    assert padded.noise.shape[1] == 2 + more
    assert all(not torch.equal(padded.noise[:, k], padded.noise[:, k + 1]) for k in range(1 + more))
    torch.testing.assert_close(padded.weights.flatten(1).mean(dim=1), torch.ones(len(padded.weights)))
    for name, frames in flat(padded).items():
        if name not in ("noise", "text", "timestep", "weights"):
            before = flat(plain)[name]
            assert torch.equal(frames, torch.cat([before[:, :1]] * more + [before], dim=1)), name


def flat(batch: DenoisingBatch) -> dict[str, Tensor]:
    tensors = {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
    for kind in ("cues", "teacher_cues"):
        cues = getattr(batch, kind)
        tensors |= {} if cues is None else {f"{kind}.{name}": value for name, value in vars(cues).items()}
    return tensors


def of_sample(batch: DenoisingBatch, index: int) -> DenoisingBatch:
    def one(value: object) -> object:
        if isinstance(value, Tensor):
            return value[index : index + 1]
        return value and dataclasses.replace(value, **{k: v[index : index + 1] for k, v in vars(value).items()})

    return dataclasses.replace(batch, **{name: one(value) for name, value in vars(batch).items()})


def trained(seed: int, spec: ModelSpec = MODEL) -> CueBackbone:
    torch.manual_seed(seed)
    model = build_transformer(spec)
    for name, parameter in model.named_parameters():
        if any(part in name for part in CUE_PARAMETERS):
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def gradients(model: CueBackbone, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}


def item_of(latents: Tensor) -> int:
    (found,) = [i for i in range(ITEMS) if np.array_equal(pool()["latents"][i].astype(np.float32), latents)]
    return found


@given(steps, st.sampled_from([SAME_ID, CROSS_ID]))
def test_a_batch_is_a_function_of_the_step_alone(step: int, stage: int) -> None:
    busy = source(stage)
    busy.batch_at(step + 1)
    torch.testing.assert_close(flat(busy.batch_at(step)), flat(source(stage).batch_at(step)), rtol=0, atol=0)


@given(steps, st.sampled_from([1, 2, 4]))
def test_processes_together_draw_what_one_draws(step: int, world: int) -> None:
    parts = [flat(source(rank=rank, world=world).batch_at(step)) for rank in range(world)]
    whole = flat(source().batch_at(step))
    for name, value in whole.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), value), name


@given(steps)
def test_steps_seeds_and_stages_draw_otherwise(step: int) -> None:
    noise = source().batch_at(step).noise
    others = [source().batch_at(step + 1), source(seed=6).batch_at(step), source(SAME_ID).batch_at(step)]
    assert not any(torch.equal(noise, other.noise) for other in others)


@given(steps, st.floats(0, 1))
def test_cues_belong_to_the_item_and_come_from_the_right_setting(step: int, share: float) -> None:
    batch = source(share=share, optim=OPTIM.model_copy(update={"cue_dropout": 0.0})).batch_at(step)
    assert batch.cues is not None
    assert batch.teacher_cues is not None
    for latents, pose, teacher_pose in zip(batch.latents, batch.cues.pose, batch.teacher_cues.pose, strict=True):
        item = item_of(latents)
        own, cross = (pool()[f"{setting}_pose"][item].astype(np.float32) for setting in ("own", "cross"))
        np.testing.assert_array_equal(teacher_pose, own)
        assert np.array_equal(pose, cross) or (share > 0 and np.array_equal(pose, own))


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.5, 0.35, 0.65), (1.0, 1, 1)])
def test_the_same_id_share_is_kept(share: float, low: float, high: float) -> None:
    optim = OptimSpec(global_batch_size=200, cue_dropout=0.0)
    batch = source(share=share, optim=optim).batch_at(0)
    assert batch.cues is not None
    assert batch.teacher_cues is not None
    own = (batch.cues.pose == batch.teacher_cues.pose).flatten(1).all(dim=1)
    assert low <= float(own.float().mean()) <= high


@pytest.mark.parametrize(("dropout", "low", "high"), [(0.0, 0, 0), (0.3, 0.18, 0.42), (1.0, 1, 1)])
def test_cues_are_dropped_whole_and_as_often_as_asked_but_never_the_teachers(
    dropout: float, low: float, high: float
) -> None:
    batch = source(optim=OptimSpec(global_batch_size=200, cue_dropout=dropout)).batch_at(0)
    assert batch.cues is not None
    assert batch.teacher_cues is not None
    silent = torch.stack([~value.flatten(1).any(dim=1) for value in vars(batch.cues).values()])
    assert (silent.all(dim=0) == silent.any(dim=0)).all()
    assert low <= float(silent[0].float().mean()) <= high
    assert batch.teacher_cues.pose_present.all()


def test_only_the_cross_id_stage_tells_a_teacher() -> None:
    assert source(SAME_ID).batch_at(0).teacher_cues is None
    assert source(CROSS_ID).batch_at(0).teacher_cues is not None


@given(steps)
def test_a_disabled_cue_is_silent_for_student_and_teacher(step: int) -> None:
    batch = source(cues=CueSpec(face=FaceCueSpec(enabled=False))).batch_at(step)
    for cues in (batch.cues, batch.teacher_cues):
        assert cues is not None
        assert not cues.face.any()


@given(steps)
def test_the_reference_is_one_still_on_every_latent_frame(step: int) -> None:
    batch = source().batch_at(step)
    for latents, reference in zip(batch.latents, batch.reference_latents, strict=True):
        assert torch.equal(reference[0], reference[1])
        stored = torch.from_numpy(pool()["reference"][item_of(latents), 0]).float()
        assert torch.equal(reference[0], stored)


def test_items_and_timesteps_are_all_drawn() -> None:
    even = DenoisingSpec(noise_bias=1.0)
    batch = source(optim=OptimSpec(global_batch_size=2000), denoising=even).batch_at(0)
    assert {item_of(latents) for latents in batch.latents[:200]} == set(range(ITEMS))
    assert batch.timestep.min() < 10
    assert 990 <= batch.timestep.max() <= 999
    assert float(batch.timestep.float().mean()) == pytest.approx(499.5, abs=30)


@given(st.floats(1, 10))
@settings(max_examples=5)
def test_a_noise_bias_draws_the_noisier_timesteps_more_often(bias: float) -> None:
    """The mean of T u ** (1 / bias) is T bias / (1 + bias)."""
    optim = OPTIM.model_copy(update={"global_batch_size": 400})
    timestep = source(optim=optim, denoising=DenoisingSpec(noise_bias=bias)).batch_at(0).timestep
    assert 0 <= timestep.min() <= timestep.max() <= 999
    assert float(timestep.float().mean()) == pytest.approx(1000 * bias / (1 + bias) - 0.5, abs=60)


@given(steps, st.floats(1, 20))
def test_cells_count_by_the_targets_own_person_whoever_drives(step: int, weight: float) -> None:
    batch = source(share=0.0, denoising=DenoisingSpec(person_weight=weight)).batch_at(step)
    assert batch.teacher_cues is not None
    coverage = batch.teacher_cues.body_mask.amax(dim=2, keepdim=True)
    torch.testing.assert_close(batch.weights, person_weights(coverage, weight))


@given(seeds, steps, st.sampled_from(sorted(BACKBONES)))
def test_loss_and_gradient_of_a_batch_equal_the_mean_over_items(seed: int, step: int, backbone: str) -> None:
    spec, process = BACKBONES[backbone]
    model, teacher, batch = trained(seed, spec), trained(seed + 1, spec), source().batch_at(step)
    objective = cross_id_objective(process, teacher, Same2XSpec(depth=0.5))
    loss = objective(model, batch)["loss"]
    whole = gradients(model, loss)
    items = [objective(model, of_sample(batch, index))["loss"] for index in range(4)]
    torch.testing.assert_close(torch.stack(items).mean(), loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients(model, torch.stack(items).mean()), whole, rtol=1e-3, atol=1e-5)


@given(seeds, steps, st.integers(1, 2))
def test_alignment_alone_reaches_the_first_blocks_and_embeddings_only(seed: int, step: int, block: int) -> None:
    model, teacher, batch = trained(seed), trained(seed + 1), source(share=0.0).batch_at(step)
    losses = cross_id_objective(PROCESS, teacher, Same2XSpec(depth=block / 2))(model, batch)
    touched = {name for name, gradient in gradients(model, losses["s2x"]).items() if gradient.any()}
    behind = (*(f"transformer_blocks.{i}." for i in range(block, 2)), "norm_final", "norm_out", "proj_out")
    assert not [name for name in touched if name.startswith(behind)]
    assert {f"transformer_blocks.{block - 1}.attn1.to_q.weight", "patch_embed.proj.weight"} <= touched
    assert "pose_embed.proj.weight" in touched
    assert all(parameter.grad is None for parameter in teacher.parameters())


@given(seeds, steps, st.sampled_from(sorted(BACKBONES)))
def test_alignment_of_a_model_with_itself_on_the_same_cues_is_minus_one(seed: int, step: int, backbone: str) -> None:
    spec, process = BACKBONES[backbone]
    model = trained(seed, spec)
    batch = source(share=1.0, optim=OPTIM.model_copy(update={"cue_dropout": 0.0})).batch_at(step)
    losses = cross_id_objective(process, model, Same2XSpec())(model, batch)
    assert float(losses["s2x"].detach()) == pytest.approx(-1, abs=1e-5)


@given(seeds, steps)
def test_the_teacher_is_told_the_targets_own_cues(seed: int, step: int) -> None:
    model = trained(seed)
    batch = source(share=0.0, optim=OPTIM.model_copy(update={"cue_dropout": 0.0})).batch_at(step)
    objective = cross_id_objective(PROCESS, model, Same2XSpec())
    assert float(objective(model, batch)["s2x"].detach()) > -1 + 1e-6
    alike = dataclasses.replace(batch, teacher_cues=batch.cues)
    assert float(objective(model, alike)["s2x"].detach()) == pytest.approx(-1, abs=1e-5)


@given(seeds, steps)
def test_cross_id_with_weight_zero_is_the_denoising_loss(seed: int, step: int) -> None:
    model, teacher, batch = trained(seed), trained(seed + 1), source().batch_at(step)
    plain = denoising_objective(PROCESS)(model, batch)["loss"]
    weightless = cross_id_objective(PROCESS, teacher, Same2XSpec(weight=0.0))(model, batch)["loss"]
    disabled = cross_id_objective(PROCESS, teacher, Same2XSpec(enabled=False))(model, batch)["loss"]
    assert torch.equal(plain, weightless)
    assert torch.equal(plain, disabled)


@given(seeds, steps, st.floats(0, 10))
def test_the_loss_is_denoising_plus_weighted_alignment(seed: int, step: int, weight: float) -> None:
    model, teacher, batch = trained(seed), trained(seed + 1), source().batch_at(step)
    losses = cross_id_objective(PROCESS, teacher, Same2XSpec(weight=weight))(model, batch)
    torch.testing.assert_close(losses["loss"], losses["denoising"] + weight * losses["s2x"])


def v_by_hand(batch: DenoisingBatch) -> tuple[Tensor, Tensor, Tensor]:
    a = make_scheduler(SamplingSpec()).alphas_cumprod.double()[batch.timestep].view(-1, 1, 1, 1, 1)
    noisy = a.sqrt() * batch.latents + (1 - a).sqrt() * batch.noise
    return noisy, a.sqrt() * batch.noise - (1 - a).sqrt() * batch.latents, batch.timestep.double()


def flow_by_hand(batch: DenoisingBatch) -> tuple[Tensor, Tensor, Tensor]:
    u = (batch.timestep.double() + 1) / 1000
    s = 3 * u / (1 + 2 * u)
    along = s.view(-1, 1, 1, 1, 1)
    return batch.latents + along * (batch.noise - batch.latents), batch.noise - batch.latents, 1000 * s


@pytest.mark.parametrize(("backbone", "by_hand"), [("cogvideox", v_by_hand), ("wan", flow_by_hand)])
@given(step=steps)
def test_the_denoising_loss_vanishes_for_a_model_that_knows_the_velocity(
    step: int, backbone: str, by_hand: Callable[[DenoisingBatch], tuple[Tensor, Tensor, Tensor]]
) -> None:
    batch = source().batch_at(step)
    noisy_by_hand, velocity, time = by_hand(batch)

    class Oracle(torch.nn.Module):
        def forward(self, noisy: Tensor, reference: Tensor, text: Tensor, timestep: Tensor, cues: object) -> object:
            torch.testing.assert_close(noisy, noisy_by_hand.float(), rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(timestep.double(), time, rtol=1e-5, atol=0)
            return CueFusionOutput(velocity.float(), None)

    loss = denoising_objective(BACKBONES[backbone][1])(Oracle(), batch)["loss"]
    assert float(loss) == pytest.approx(0, abs=1e-10)


@given(st.integers(1, 64), st.floats(0, 1, exclude_min=True))
def test_the_alignments_depth_is_the_nearest_block_to_its_share(num_layers: int, depth: float) -> None:
    block = Same2XSpec(depth=depth).block(num_layers)
    assert 1 <= block <= num_layers
    assert all(abs(block - depth * num_layers) <= abs(other - depth * num_layers) for other in range(1, num_layers + 1))


@given(seeds, st.floats(0, 1))
@settings(max_examples=8)
def test_the_held_out_loss_is_a_function_of_the_weights_alone(seed: int, dropout: float) -> None:
    model = trained(seed)
    others = [
        source(seed=seed, optim=OPTIM.model_copy(update={"cue_dropout": dropout, "global_batch_size": 2})),
        source(share=0.3, denoising=DenoisingSpec(noise_bias=7.0)),
    ]
    expected = held_out_loss(model, source(), PROCESS)
    assert [held_out_loss(model, other, PROCESS) for other in others] == [expected, expected]
    assert held_out_loss(trained(seed + 1), source(), PROCESS) != expected


@given(st.floats(0, 1))
def test_held_out_clips_are_seen_at_every_timestep_driven_by_another_person(share: float) -> None:
    batches = list(source(share=share).held_out_batches())
    assert [set(batch.timestep.tolist()) for batch in batches] == [{timestep} for timestep in HELD_OUT_TIMESTEPS]
    setting = "own" if share == 1 else "cross"
    for batch in batches:
        assert batch.cues is not None
        assert [item_of(latents) for latents in batch.latents] == list(range(ITEMS))
        np.testing.assert_array_equal(batch.cues.pose, pool()[f"{setting}_pose"].astype(np.float32))
    assert len({batch.noise.sum().item() for batch in batches}) == len(batches)


@given(seeds)
def test_following_the_held_out_loss_draws_no_random_number(seed: int) -> None:
    model = trained(seed)
    before = torch.get_rng_state()
    held_out_loss(model, source(), PROCESS)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())


@given(st.sampled_from([1, 2, 4]), steps)
def test_parts_of_a_batch_together_are_the_batch(size: int, step: int) -> None:
    batch = source().batch_at(step)
    parts = batch.parts(size)
    assert len(parts) == 4 // size
    for name, value in flat(batch).items():
        torch.testing.assert_close(torch.cat([flat(part)[name] for part in parts]), value, rtol=0, atol=0)


@given(st.sampled_from([SAME_ID, CROSS_ID]))
def test_a_batch_moves_to_a_device_whole(stage: int) -> None:
    moved = source(stage).batch_at(0).to(torch.device("meta"))
    assert {value.device.type for value in flat(moved).values()} == {"meta"}


def test_parts_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="4 clips does not divide into parts of 3"):
        source().batch_at(0).parts(3)


@given(steps)
def test_captions_are_the_items_own_and_are_left_out_as_often_as_asked(step: int) -> None:
    told = torch.arange(1, ITEMS + 1).view(-1, 1, 1).expand(ITEMS, MODEL.max_text_tokens, MODEL.text_embed_dim)
    empty = -torch.ones(1, MODEL.max_text_tokens, MODEL.text_embed_dim)
    items = pool() | {"text": told.numpy().astype(np.float16)}
    always, never = (
        source(pool=items, empty_text=empty, optim=OPTIM.model_copy(update={"text_dropout": share})).batch_at(step)
        for share in (0.0, 1.0)
    )
    assert torch.equal(never.text, empty.expand(4, -1, -1))
    for text, latents in zip(always.text, always.latents, strict=True):
        number = int(text[0, 0]) - 1
        assert (text == number + 1).all()
        assert torch.equal(latents, torch.from_numpy(pool()["latents"][number]).float())
