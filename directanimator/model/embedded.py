"""Models and codecs from a spec: the embedded base, random weights, or a directory in diffusers' layout."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from safetensors import SafetensorError
from safetensors.torch import load_file

from directanimator.errors import UserError
from directanimator.model.codec import PatchCodec
from directanimator.model.cue_fusion import CUE_PARAMETERS, CueFusionTransformer
from directanimator.model.spec import ModelSpec

EMBEDDED_DIRECTORY = Path(__file__).resolve().parent / "embedded"
"""Holds `codec/` and `transformer/` in diffusers' layout, and the model card."""
_WEIGHTS = "diffusion_pytorch_model.safetensors"


def build_transformer(spec: ModelSpec) -> CueFusionTransformer:
    """A transformer of the spec's shape with random weights, its cue parameters initialised as the spec says."""
    model = CueFusionTransformer(
        num_attention_heads=spec.num_heads,
        attention_head_dim=spec.head_dim,
        in_channels=2 * spec.latent_channels,
        out_channels=spec.latent_channels,
        num_layers=spec.num_layers,
        patch_size=spec.patch_size,
        patch_size_t=spec.patch_size_t,
        patch_bias=spec.patch_size_t is None,
        time_embed_dim=spec.time_embed_dim,
        text_embed_dim=spec.text_embed_dim,
        max_text_seq_length=spec.max_text_tokens,
        ofs_embed_dim=spec.ofs_embed_dim,
        cue_init=spec.cue_init,
        cue_entry=spec.cue_entry,
        cue_carry=spec.cue_carry,
    )
    model.start_cues_from_base()
    return model


def load_base(model: CueFusionTransformer, directory: Path) -> None:
    """Nothing; puts a base checkpoint's weights into the model, and starts the cue embeddings from them.

    Raises: UserError if a file is missing or damaged, or the checkpoint is of another architecture."""
    weights = {name: tensor for name, tensor in _read_weights(directory).items() if not _is_cue(name)}
    _check_architecture(weights, {k: v for k, v in model.state_dict().items() if not _is_cue(k)}, directory)
    model.load_state_dict(weights, strict=False)
    model.start_cues_from_base()


def load_transformer(directory: Path, spec: ModelSpec) -> CueFusionTransformer:
    """A trained transformer with its cue parameters, frozen.

    Raises: UserError if a file is missing or damaged, or the checkpoint is of another architecture."""
    model = build_transformer(spec)
    weights = _read_weights(directory)
    _check_architecture(weights, model.state_dict(), directory)
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def _read_weights(directory: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = {}
    for path in _weight_files(directory):
        try:
            weights |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(f"weights {path} cannot be read ({error})") from error
    return {name: tensor.float() for name, tensor in weights.items()}


def _check_architecture(
    found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], directory: Path
) -> None:
    shapes = [{name: tensor.shape for name, tensor in tensors.items()} for tensors in (expected, found)]
    odd = sorted(k for k in shapes[0].keys() | shapes[1].keys() if shapes[0].get(k) != shapes[1].get(k))
    if odd:
        raise UserError(f"{directory} is of another architecture: {len(odd)} tensors differ, the first is {odd[0]}")


def _is_cue(name: str) -> bool:
    return any(part in name for part in CUE_PARAMETERS)


def _weight_files(directory: Path) -> list[Path]:
    index = directory / f"{_WEIGHTS}.index.json"
    files = [directory / name for name in (_names_in(index) if index.exists() else [_WEIGHTS])]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise UserError(f"no weights at {missing[0]}; give a directory in diffusers' layout, or model.base=embedded")
    return files


def _names_in(index: Path) -> list[str]:
    """File names of a sharded checkpoint; each lies beside the index."""
    try:
        names = set(json.loads(index.read_text())["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is not an index of weights ({type(error).__name__})") from error
    odd = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if odd or not names:
        raise UserError(f"{index} is not an index of weights (expected names of files beside it)")
    return sorted(names)


def without_cues(model: CueFusionTransformer) -> CogVideoXTransformer3DModel:
    """The base inside the model: a plain CogVideoX transformer with a copy of its weights."""
    base = CogVideoXTransformer3DModel(
        **{name: value for name, value in model.config.items() if not name.startswith(("cue_", "_"))}
    )
    base.load_state_dict({name: value for name, value in model.state_dict().items() if not _is_cue(name)})
    return base


def make_transformer(spec: ModelSpec, seed: int) -> CueFusionTransformer:
    """The transformer a training starts from; `seed` decides whatever no checkpoint does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_transformer(spec)
    if spec.base != "random":
        directory = EMBEDDED_DIRECTORY if spec.base == "embedded" else Path(spec.base)
        load_base(model, directory / "transformer")
    return model


def load_codec() -> PatchCodec:
    """The embedded codec, frozen."""
    codec: PatchCodec = PatchCodec.from_pretrained(EMBEDDED_DIRECTORY / "codec", torch_dtype=torch.float32)
    return codec.eval().requires_grad_(False)
