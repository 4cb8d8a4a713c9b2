"""Tiny CogVideoX and Wan directories with random weights, in the exact layout of the published ones."""

import io
import json
from pathlib import Path

import sentencepiece
import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.schedulers.scheduling_dpm_cogvideox import CogVideoXDPMScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

from directanimator.model.spec import ModelSpec

TOKENS, TEXT_WIDTH, CHANNELS = 7, 16, 16
SHAPE = {
    "codec": "cogvideox",
    "num_layers": 2,
    "num_heads": 2,
    "head_dim": 16,
    "latent_channels": CHANNELS,
    "patch_size": 2,
    "time_embed_dim": 24,
    "text_embed_dim": TEXT_WIDTH,
    "max_text_tokens": TOKENS,
    "text_encoder": "t5",
}

WAN_CHANNELS = 48
WAN_SHAPE = {
    "backbone": "wan",
    "codec": "wan",
    "num_layers": 2,
    "num_heads": 2,
    "head_dim": 16,
    "latent_channels": WAN_CHANNELS,
    "patch_size": 2,
    "feed_forward_dim": 40,
    "time_embed_dim": 24,
    "text_embed_dim": TEXT_WIDTH,
    "max_text_tokens": TOKENS,
    "text_encoder": "umt5",
}
WAN_SHIFT = 5.0


def spec_of(directory: Path, version: str) -> ModelSpec:
    """What the tiny model of a version is in a spec."""
    own = {"patch_size_t": 2, "ofs_embed_dim": 24} if version == "1.5" else {"positions": "learned"}
    return ModelSpec(base=str(directory), **SHAPE, **own)


def wan_spec_of(directory: Path) -> ModelSpec:
    """What the tiny Wan is in a spec."""
    return ModelSpec(base=str(directory), **WAN_SHAPE)


def write_published(directory: Path, version: str, seed: int = 0) -> Path:
    """The directory, holding a tiny CogVideoX1.5-5B-I2V ("1.5") or CogVideoX-5B-I2V ("1.0"), sharded, in bf16."""
    torch.manual_seed(seed)
    own = (
        {"patch_size_t": 2, "patch_bias": False, "ofs_embed_dim": 24, "sample_height": 300, "sample_width": 300}
        if version == "1.5"
        else {"use_learned_positional_embeddings": True}
    )
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=2 * CHANNELS,
        out_channels=CHANNELS,
        num_layers=2,
        patch_size=2,
        time_embed_dim=24,
        text_embed_dim=TEXT_WIDTH,
        max_text_seq_length=TOKENS,
        use_rotary_positional_embeddings=True,
        **own,
    )
    for tensor in [*transformer.parameters(), *transformer.buffers()]:
        torch.nn.init.normal_(tensor, std=0.2)
    transformer.to(torch.bfloat16).save_pretrained(directory / "transformer", max_shard_size="60KB")
    vae = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8),
        latent_channels=CHANNELS,
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=0.7,
        invert_scale_latents=version == "1.5",
    )
    vae.save_pretrained(directory / "vae")
    scheduler = CogVideoXDPMScheduler(
        snr_shift_scale=1.0,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    scheduler.save_pretrained(directory / "scheduler")
    write_text_parts(directory)
    index = {
        "_class_name": "CogVideoXImageToVideoPipeline",
        "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
    }
    (directory / "model_index.json").write_text(json.dumps(index))
    return directory


def write_wan(directory: Path, seed: int = 0) -> Path:
    """The directory, holding a tiny Wan2.2-TI2V-5B, sharded, in bf16."""
    torch.manual_seed(seed)
    transformer = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=WAN_CHANNELS,
        out_channels=WAN_CHANNELS,
        text_dim=TEXT_WIDTH,
        ffn_dim=40,
        num_layers=2,
    )
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    transformer.to(torch.bfloat16).save_pretrained(directory / "transformer", max_shard_size="60KB")
    vae = AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=WAN_CHANNELS,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=torch.linspace(-0.5, 0.5, WAN_CHANNELS).tolist(),
        latents_std=torch.linspace(0.3, 1.3, WAN_CHANNELS).tolist(),
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
    )
    vae.save_pretrained(directory / "vae")
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=WAN_SHIFT)
    scheduler.save_pretrained(directory / "scheduler")
    write_text_parts(directory, wan=True)
    index = {"_class_name": "WanImageToVideoPipeline", "expand_timesteps": True}
    (directory / "model_index.json").write_text(json.dumps(index))
    return directory


def write_text_parts(directory: Path, wan: bool = False) -> None:
    """A sentencepiece vocabulary of its own, and a T5 for it, or Wan's UMT5."""
    words = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a man dances in a room", "the woman waves"] * 4),
        model_writer=words,
        vocab_size=24,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (directory / "tokenizer").mkdir()
    (directory / "tokenizer/spiece.model").write_bytes(words.getvalue())
    settings = {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    (directory / "tokenizer/tokenizer_config.json").write_text(json.dumps({**settings, "extra_ids": 0}))
    network, config = (UMT5EncoderModel, UMT5Config) if wan else (T5EncoderModel, T5Config)
    net = config(
        vocab_size=32, d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    network(net).save_pretrained(directory / "text_encoder", max_shard_size="5KB")
