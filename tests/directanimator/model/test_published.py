"""CogVideoX directories as they are published: tiny ones in the exact layout, read or refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from diffusers.pipelines.cogvideo.pipeline_cogvideox_image2video import CogVideoXImageToVideoPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from directanimator.errors import UserError
from directanimator.model.codec import VideoCodec
from directanimator.model.cue_fusion import CUE_PARAMETERS, CueFusionTransformer
from directanimator.model.embedded import build_transformer, load_transformer, make_codec, make_transformer
from directanimator.model.published import (
    CogVideoXCodec,
    TextEncoder,
    check_scheduler,
    load_published_codec,
    load_text_encoder,
)
from directanimator.objective.noise_process import published_settings
from directanimator.objective.spec import SamplingSpec
from tests.published import CHANNELS, TEXT_WIDTH, TOKENS, spec_of, write_published

VERSIONS = ("1.0", "1.5")
seeds = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {version: write_published(tmp_path_factory.mktemp("base") / "model", version) for version in VERSIONS}


@pytest.fixture
def copied(directories: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(directories["1.5"], tmp_path / "copied"))


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def is_cue(name: str) -> bool:
    return any(part in name for part in CUE_PARAMETERS)


# ---------------------------------------------------------------- the transformer


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [(5, 4, 6), (13, 60, 90), (3, 64, 64)])
@torch.no_grad()
def test_a_published_transformer_says_what_diffusers_own_pipeline_makes_it_say(
    directories: dict[str, Path], version: str, size: tuple[int, int, int]
) -> None:
    """Same weights, the pipeline's own positions and offset, an even number of frames where 1.5 wants one."""
    directory = directories[version]
    frames, height, width = size
    frames += frames % 2 if version == "1.5" else 0
    model = make_transformer(spec_of(directory, version), seed=0).eval()
    theirs = CogVideoXTransformer3DModel.from_pretrained(directory / "transformer", torch_dtype=torch.float32).eval()
    pipeline = CogVideoXImageToVideoPipeline(None, None, make_codec(spec_of(directory, version)).vae, theirs, None)
    noisy, image = normal(1, 2, 1, frames, CHANNELS, height, width)
    text, timestep = normal(2, 1, TOKENS, TEXT_WIDTH), torch.tensor([700])
    if version == "1.0" and (frames, height, width) != (13, 60, 90):
        with pytest.raises(ValueError, match="different resolution"):
            theirs(torch.cat([noisy, image], dim=2), text, timestep)
        assert model(noisy, image, text, timestep, None).velocity.isfinite().all()
        return
    rotary = pipeline._prepare_rotary_positional_embeddings(8 * height, 8 * width, frames, torch.device("cpu"))
    offset = None if version == "1.0" else torch.full((1,), 2.0)
    expected = theirs(
        torch.cat([noisy, image], dim=2), text, timestep, ofs=offset, image_rotary_emb=rotary, return_dict=False
    )[0]
    torch.testing.assert_close(model(noisy, image, text, timestep, None).velocity, expected, rtol=0, atol=0)


@pytest.mark.parametrize("version", VERSIONS)
@given(st.integers(1, 13), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=15)
def test_positions_are_the_pipelines_own_on_any_grid(
    directories: dict[str, Path], version: str, frames: int, rows: int, columns: int
) -> None:
    frames *= 2 if version == "1.5" else 1
    model = build_transformer(spec_of(directories[version], version))
    config = json.loads((directories[version] / "transformer/config.json").read_text())
    theirs = CogVideoXTransformer3DModel.from_config(config)
    vae = make_codec(spec_of(directories[version], version)).vae
    pipeline = CogVideoXImageToVideoPipeline(None, None, vae, theirs, None)
    expected = pipeline._prepare_rotary_positional_embeddings(16 * rows, 16 * columns, frames, torch.device("cpu"))
    ours = model.rotary(frames, 2 * rows, 2 * columns, torch.device("cpu"))
    assert ours is not None
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("version", VERSIONS)
@given(seed=seeds)
def test_every_parameter_of_a_loaded_base_is_the_checkpoints_or_a_cues_own_start(
    directories: dict[str, Path], version: str, seed: int
) -> None:
    """The trap of `from_pretrained`: what a checkpoint lacks is uninitialised memory there."""
    spec = spec_of(directories[version], version)
    shards = [load_file(path) for path in (directories[version] / "transformer").glob("*.safetensors")]
    assert len(shards) > 1
    published = {name: tensor for shard in shards for name, tensor in shard.items()}
    loaded = make_transformer(spec, seed)
    assert {name for name in loaded.state_dict() if not is_cue(name)} == set(published)
    fresh = build_transformer(spec).state_dict()
    for name, tensor in loaded.state_dict().items():
        assert not tensor.is_meta
        if not is_cue(name):
            assert torch.equal(tensor, published[name].float()), name
        elif ".cues." in name:
            assert not tensor.any(), name
        else:
            assert tensor.isfinite().all(), name
            assert tensor.shape == fresh[name].shape
    first = published["patch_embed.proj.weight"].float()
    channels = loaded.pose_embed.proj.weight[:, :CHANNELS]
    assert torch.equal(channels.flatten(1), first.view(first.shape[0], 2 * CHANNELS, -1)[:, :CHANNELS].flatten(1))


@pytest.mark.parametrize("version", VERSIONS)
@torch.no_grad()
def test_a_trained_model_is_saved_in_shards_and_comes_back_bit_for_bit(
    directories: dict[str, Path], version: str, tmp_path: Path
) -> None:
    spec = spec_of(directories[version], version)
    model = make_transformer(spec, seed=0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    again = load_transformer(tmp_path, spec)
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    theirs: CueFusionTransformer = CueFusionTransformer.from_pretrained(tmp_path)
    torch.testing.assert_close(theirs.state_dict(), model.state_dict(), rtol=0, atol=0)


@torch.no_grad()
def test_learned_positions_on_another_grid_stay_between_their_neighbors(directories: dict[str, Path]) -> None:
    model = make_transformer(spec_of(directories["1.0"], "1.0"), seed=0)
    table = model.patch_embed.pos_embedding
    ramp = torch.linspace(0, 1, 45).expand(13, 30, 45).reshape(1, -1, 1).expand(-1, -1, table.shape[-1])
    table[:, TOKENS:] = ramp
    resampled = model._learned_positions((7, 32, 32))
    assert torch.equal(resampled[:, :TOKENS], table[:, :TOKENS])
    columns = resampled[0, TOKENS:, 0].view(7, 32, 32)
    assert torch.allclose(columns, columns[:1, :1].expand_as(columns), atol=1e-6)
    assert (columns[0, 0].diff() >= 0).all()
    assert columns.min() >= 0
    assert columns.max() <= 1


# ---------------------------------------------------------------- the codec


@pytest.mark.parametrize("version", VERSIONS)
@given(seed=seeds, frames=st.sampled_from([1, 9, 17]))
@settings(max_examples=5)
def test_the_codec_is_the_published_vae_times_its_scale(
    directories: dict[str, Path], version: str, seed: int, frames: int
) -> None:
    codec = load_published_codec(str(directories[version]))
    video = normal(seed, 2, frames, 3, 16, 24).clamp(-1, 1)
    latents = codec.encode(video)
    assert latents.shape == (2, 1 + (frames - 1) // 4, CHANNELS, 2, 3)
    with torch.no_grad():
        raw = codec.vae.encode(video.transpose(1, 2)).latent_dist.mode().transpose(1, 2)
    torch.testing.assert_close(latents, 0.7 * raw)
    video_again = codec.decode(latents)
    assert video_again.shape == video.shape
    assert video_again.abs().max() <= 1
    with torch.no_grad():
        expected = codec.vae.decode(raw.transpose(1, 2)).sample.transpose(1, 2).clamp(-1, 1)
    torch.testing.assert_close(video_again, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reference_is_scaled_as_the_version_was_trained(directories: dict[str, Path], version: str) -> None:
    codec = load_published_codec(str(directories[version]))
    image = normal(0, 1, 1, 3, 16, 16).clamp(-1, 1)
    factor = 1 / 0.7 if version == "1.5" else 0.7
    torch.testing.assert_close(codec.encode_reference(image), codec.encode(image) / 0.7 * factor)


@given(st.integers(1, 40))
def test_only_frame_counts_that_come_back_are_encoded(directories: dict[str, Path], frames: int) -> None:
    codec = load_published_codec(str(directories["1.5"]))
    video = torch.zeros(1, frames, 3, 8, 8)
    if frames % 8 == 1:
        assert codec.decode(codec.encode(video)).shape[1] == frames
    else:
        with pytest.raises(ValueError, match=r"8k \+ 1 frames"):
            codec.encode(video)


@pytest.mark.usefixtures("unchecked_shapes")
def test_sides_that_are_no_whole_cells_are_refused(directories: dict[str, Path]) -> None:
    codec = load_published_codec(str(directories["1.5"]))
    assert codec.cell == 8
    assert isinstance(codec, VideoCodec)
    with pytest.raises(ValueError, match="multiples of 8"):
        codec.encode(torch.zeros(1, 1, 3, 12, 16))


def test_tiling_decodes_large_pictures_part_by_part(directories: dict[str, Path]) -> None:
    whole, tiled = (load_published_codec(str(directories["1.5"]), tiling) for tiling in (False, True))
    latents = normal(0, 1, 1, CHANNELS, 32, 46)
    seen: list[tuple[int, ...]] = []
    tiled.vae.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[-2:])))
    assert tiled.decode(latents).shape == whole.decode(latents).shape
    assert {shape[-2] <= 30 and shape[-1] <= 45 for shape in seen} == {True}


# ---------------------------------------------------------------- text and schedule


def test_prompts_become_tokens_of_one_number_that_tell_them_apart(directories: dict[str, Path]) -> None:
    words = load_text_encoder(str(directories["1.5"]), "t5", TEXT_WIDTH, TOKENS)
    tokens = words.encode(["a man dances", "the woman waves", "", "a man dances in a room " * 9])
    assert tokens.shape == (4, TOKENS, TEXT_WIDTH)
    assert tokens.isfinite().all()
    assert not torch.equal(tokens[0], tokens[1])
    torch.testing.assert_close(words.encode([""])[0], tokens[2], rtol=1e-2, atol=1e-2)
    assert tokens[2].any()


def test_the_schedule_of_the_weights_must_be_the_specs(directories: dict[str, Path]) -> None:
    check_scheduler(str(directories["1.5"]), published_settings(SamplingSpec(snr_shift_scale=1.0)))
    with pytest.raises(UserError, match=r"snr_shift_scale=1.0, not sampling.snr_shift_scale=3.0"):
        check_scheduler(str(directories["1.5"]), published_settings(SamplingSpec()))


# ---------------------------------------------------------------- bad input


def load_all(base: Path) -> tuple[CueFusionTransformer, CogVideoXCodec, TextEncoder]:
    spec = spec_of(base, "1.5")
    words = load_text_encoder(str(base), "t5", TEXT_WIDTH, TOKENS)
    return make_transformer(spec, 0), load_published_codec(str(base)), words


def remove(name: str) -> Callable[[Path], None]:
    return lambda base: shutil.rmtree(base / name)


def truncate(pattern: str) -> Callable[[Path], None]:
    def damage(base: Path) -> None:
        path = sorted(base.glob(pattern))[0]
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def retype(dtype: torch.dtype) -> Callable[[Path], None]:
    def damage(base: Path) -> None:
        path = sorted(base.glob("transformer/*.safetensors"))[0]
        save_file({name: tensor.to(dtype) for name, tensor in load_file(path).items()}, path)

    return damage


def poison(base: Path) -> None:
    path = sorted(base.glob("transformer/*.safetensors"))[-1]
    weights = load_file(path)
    weights[max(weights)].view(-1)[0] = torch.nan
    save_file(weights, path)


def other_heads(base: Path) -> None:
    path = base / "transformer/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_attention_heads": 4, "attention_head_dim": 8}))


def drop_shard(base: Path) -> None:
    sorted(base.glob("transformer/*.safetensors"))[1].unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (remove("vae"), "has no vae/"),
        (remove("text_encoder"), "has no text_encoder/"),
        (remove("tokenizer"), "has no tokenizer/"),
        (remove("transformer"), "no weights"),
        (lambda base: (base / "tokenizer/spiece.model").unlink(), "holds no vocabulary"),
        (lambda base: (base / "vae/config.json").write_text("{"), "vae cannot be read"),
        (truncate("vae/*.safetensors"), "vae cannot be read"),
        (truncate("transformer/*.safetensors"), "cannot be read"),
        (truncate("text_encoder/*.safetensors"), "text_encoder cannot be read"),
        (retype(torch.int8), "is of type int8; want weights in float32, bfloat16, float16"),
        (poison, "holds NaN or infinity"),
        (other_heads, "num_attention_heads=4, the spec wants 2"),
        (drop_shard, "no weights"),
        (lambda base: shutil.rmtree(base), "no such directory"),
    ],
)
def test_a_damaged_or_partial_directory_is_refused_in_one_line(
    copied: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(copied)
    with pytest.raises(UserError) as caught:
        load_all(copied)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(copied) in str(caught.value)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_other_version_is_refused(directories: dict[str, Path], version: str) -> None:
    other = "1.0" if version == "1.5" else "1.5"
    spec = spec_of(directories[version], other)
    with pytest.raises(UserError, match="another architecture"):
        make_transformer(spec, 0)


@pytest.mark.parametrize("base", ["random", "embedded"])
def test_a_base_without_a_directory_has_no_published_parts(base: str) -> None:
    with pytest.raises(UserError, match=r"want model\.base=DIR"):
        load_published_codec(base)


def test_a_text_encoder_of_another_width_is_refused(directories: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"tokens of 16 values, model\.text_embed_dim=4096"):
        load_text_encoder(str(directories["1.5"]), "t5", 4096, TOKENS)
