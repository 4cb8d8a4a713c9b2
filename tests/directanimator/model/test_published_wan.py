"""Wan directories as they are published: tiny ones in the exact layout, read or refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan import pipeline_wan_i2v
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from directanimator.errors import UserError
from directanimator.model.codec import VideoCodec
from directanimator.model.cue_fusion import CUE_PARAMETERS
from directanimator.model.embedded import make_codec, make_transformer
from directanimator.model.published import WanCodec, check_scheduler, load_text_encoder, load_wan_codec
from directanimator.objective.noise_process import published_settings
from directanimator.objective.spec import SamplingSpec
from directanimator.pipeline import guided, sample
from tests.published import (
    TEXT_WIDTH,
    TOKENS,
    WAN_CHANNELS,
    WAN_SHIFT,
    spec_of,
    wan_spec_of,
    write_wan,
)

STEPS = 3
SAMPLING = SamplingSpec(scheduler="unipc", num_steps=STEPS, guidance_scale=5, guidance_over="text", snr_shift_scale=5)
seeds = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wan(tmp_path_factory.mktemp("wan") / "model")


@pytest.fixture
def copied(directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(directory, tmp_path / "copied"))


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def is_cue(name: str) -> bool:
    return any(part in name for part in CUE_PARAMETERS)


def pipeline_of(directory: Path) -> WanImageToVideoPipeline:
    """Diffusers' own pipeline over the directory's parts, but for the text, which is given as tokens."""
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

    pipeline = WanImageToVideoPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=load_wan_codec(str(directory)).vae,
        scheduler=UniPCMultistepScheduler.from_pretrained(directory / "scheduler"),
        transformer=WanTransformer3DModel.from_pretrained(directory / "transformer", torch_dtype=torch.float32).eval(),
        expand_timesteps=True,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def test_sampling_is_what_diffusers_own_pipeline_does(directory: Path) -> None:
    """Reference and clip together are the pipeline's video: its first latent frame is the image, and ours come after.

    They agree only if times, positions, schedule, solver and guidance are the published ones."""
    model = make_transformer(wan_spec_of(directory), seed=0).eval()
    codec = make_codec(wan_spec_of(directory))
    image, noise = normal(1, 1, 3, 32, 64).clamp(-1, 1), normal(2, 1, 2, WAN_CHANNELS, 2, 4)
    text, empty = normal(3, 1, TOKENS, TEXT_WIDTH), normal(4, 1, TOKENS, TEXT_WIDTH)
    theirs = pipeline_of(directory)(
        image=image / 2 + 0.5,
        prompt_embeds=text,
        negative_prompt_embeds=empty,
        height=32,
        width=64,
        num_frames=9,
        latents=torch.cat([torch.zeros_like(noise[:, :1]), noise], dim=1).transpose(1, 2),
        num_inference_steps=STEPS,
        guidance_scale=5.0,
        output_type="latent",
    ).frames.transpose(1, 2)
    reference = codec.encode_reference(image[:, None])
    torch.testing.assert_close(theirs[:, :1], reference, rtol=1e-4, atol=1e-4)
    ours = sample(guided(model, reference.expand_as(noise), text, None, SAMPLING, empty), noise, SAMPLING)
    torch.testing.assert_close(ours, theirs[:, 1:], rtol=1e-3, atol=1e-3)


@given(seeds)
@settings(max_examples=3)
def test_every_parameter_of_a_loaded_base_is_the_checkpoints_or_a_cues_own_start(directory: Path, seed: int) -> None:
    shards = [load_file(path) for path in (directory / "transformer").glob("*.safetensors")]
    assert len(shards) > 1
    published = {name: tensor for shard in shards for name, tensor in shard.items()}
    loaded = make_transformer(wan_spec_of(directory), seed)
    assert {name for name in loaded.state_dict() if not is_cue(name)} == set(published)
    for name, tensor in loaded.state_dict().items():
        if not is_cue(name):
            assert torch.equal(tensor, published[name].float()), name
        elif ".cues." in name:
            assert not tensor.any(), name
        else:
            assert tensor.isfinite().all(), name
    first = published["patch_embedding.weight"].float()
    for embed in (loaded.pose_embed, loaded.face_embed):
        assert torch.equal(embed.proj.weight[:, :WAN_CHANNELS], first)
        assert not embed.proj.weight[:, WAN_CHANNELS:].any()


@given(seed=seeds, frames=st.sampled_from([1, 5, 9]))
@settings(max_examples=4)
def test_the_codec_is_the_published_vae_normalized(directory: Path, seed: int, frames: int) -> None:
    codec = load_wan_codec(str(directory))
    assert isinstance(codec, VideoCodec)
    video = normal(seed, 2, frames, 3, 32, 48).clamp(-1, 1)
    latents = codec.encode(video)
    assert latents.shape == (2, 1 + (frames - 1) // 4, WAN_CHANNELS, 2, 3)
    with torch.no_grad():
        raw = codec.vae.encode(video.transpose(1, 2)).latent_dist.mode()
    mean, std = (torch.tensor(codec.vae.config[name]).view(-1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    torch.testing.assert_close((latents.transpose(1, 2) * std) + mean, raw, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(codec.encode_reference(video[:, :1]), latents[:, :1], rtol=1e-4, atol=1e-4)
    again = codec.decode(latents)
    with torch.no_grad():
        expected = codec.vae.decode(raw).sample.transpose(1, 2)
    assert again.shape == video.shape
    torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("shape", "said"), [((1, 4, 3, 32, 32), r"4k \+ 1 frames, got 4"), ((1, 1, 3, 40, 32), "multiples of 16")]
)
def test_what_the_vae_does_not_keep_is_refused(directory: Path, shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load_wan_codec(str(directory)).encode(torch.zeros(shape))


def test_prompts_become_the_tokens_of_diffusers_own_pipeline(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding is not encoded, but zero."""
    monkeypatch.setattr(pipeline_wan_i2v, "prompt_clean", str)  # it needs ftfy
    words = load_text_encoder(str(directory), "umt5", TEXT_WIDTH, TOKENS)
    prompts = ["a man dances", "", "the woman waves in a room " * 5]
    pipeline = WanImageToVideoPipeline(words._tokenizer, words._encoder, None, None, transformer=None)
    expected = pipeline._get_t5_prompt_embeds(prompts, max_sequence_length=TOKENS, device=torch.device("cpu"))
    tokens = words.encode(prompts)
    torch.testing.assert_close(tokens, expected.float())
    assert not tokens[1, 1:].any()
    assert tokens[2].any(dim=1).all()


def test_the_schedule_of_the_weights_must_be_the_specs(directory: Path) -> None:
    check_scheduler(str(directory), published_settings(SAMPLING))
    with pytest.raises(UserError, match=r"flow_shift=5.0, not sampling.snr_shift_scale=3.0"):
        check_scheduler(str(directory), published_settings(SamplingSpec(scheduler="euler")))
    with pytest.raises(UserError, match="prediction_type=flow_prediction, not prediction_type=v_prediction"):
        check_scheduler(str(directory), published_settings(SamplingSpec(snr_shift_scale=WAN_SHIFT)))


# ---------------------------------------------------------------- bad input


def load_all(base: Path) -> None:
    make_transformer(wan_spec_of(base), 0)
    load_wan_codec(str(base))
    load_text_encoder(str(base), "umt5", TEXT_WIDTH, TOKENS)


def truncate(pattern: str) -> Callable[[Path], None]:
    def damage(base: Path) -> None:
        path = sorted(base.glob(pattern))[0]
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def poison(base: Path) -> None:
    path = sorted(base.glob("transformer/*.safetensors"))[-1]
    weights = load_file(path)
    weights[max(weights)].view(-1)[0] = torch.nan
    save_file(weights, path)


def stated(name: str, value: object, part: str = "transformer") -> Callable[[Path], None]:
    def damage(base: Path) -> None:
        path = base / part / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda base: shutil.rmtree(base / "vae"), "has no vae/"),
        (lambda base: sorted(base.glob("transformer/*.safetensors"))[1].unlink(), "no weights"),
        (truncate("transformer/*.safetensors"), "cannot be read"),
        (truncate("vae/*.safetensors"), "vae cannot be read"),
        (truncate("text_encoder/*.safetensors"), "text_encoder cannot be read"),
        (poison, "holds NaN or infinity"),
        (stated("in_channels", 100), "in_channels=100, the spec wants 48"),
        (stated("image_dim", 1280), "image_dim=1280, the spec wants None"),
        (stated("patch_size", [1, 1, 1]), r"patch_size=[1, 1, 1], the spec wants (1, 2, 2)"),
        (stated("z_dim", 16, "vae"), "vae"),
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


def test_the_other_backbone_is_refused(directory: Path) -> None:
    with pytest.raises(UserError, match="another architecture"):
        make_transformer(spec_of(directory, "1.5"), 0)


def test_the_codec_of_a_spec_is_the_backbones(directory: Path) -> None:
    codec = make_codec(wan_spec_of(directory))
    assert isinstance(codec, WanCodec)
    assert (codec.latent_channels, codec.cell) == (WAN_CHANNELS, 16)
