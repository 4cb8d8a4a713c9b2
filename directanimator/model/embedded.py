"""Models and codecs from a spec: the embedded base, random weights, or a directory in diffusers' layout."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from safetensors import SafetensorError, safe_open

from directanimator.errors import UserError
from directanimator.model.backbone import CueBackbone
from directanimator.model.codec import PatchCodec, VideoCodec
from directanimator.model.cue_fusion import CUE_PARAMETERS, CueFusionTransformer
from directanimator.model.published import (
    TextEncoder,
    check_transformer_config,
    load_published_codec,
    load_text_encoder,
    load_wan_codec,
)
from directanimator.model.spec import ModelSpec
from directanimator.model.wan_fusion import WanCueFusionTransformer

EMBEDDED_DIRECTORY = Path(__file__).resolve().parent / "embedded"
"""Holds `codec/` and `transformer/` in diffusers' layout, and the model card."""
_WEIGHT_TYPES = (torch.float32, torch.bfloat16, torch.float16)
_WEIGHTS = "diffusion_pytorch_model.safetensors"


def build_transformer(spec: ModelSpec) -> CueBackbone:
    """A transformer of the spec's shape with random weights, its cue parameters initialised as the spec says."""
    return build_cogvideox(spec) if spec.backbone == "cogvideox" else build_wan(spec)


def build_cogvideox(spec: ModelSpec) -> CueFusionTransformer:
    """A CogVideoX of the spec's shape."""
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
        use_learned_positional_embeddings=spec.positions == "learned",
        cue_init=spec.cue_init,
        cue_entry=spec.cue_entry,
        cue_carry=spec.cue_carry,
        cue_fusion=spec.fusion,
    )
    model.start_cues_from_base()
    return model


def build_wan(spec: ModelSpec) -> WanCueFusionTransformer:
    """A Wan of the spec's shape."""
    model = WanCueFusionTransformer(
        num_attention_heads=spec.num_heads,
        attention_head_dim=spec.head_dim,
        in_channels=spec.latent_channels,
        out_channels=spec.latent_channels,
        num_layers=spec.num_layers,
        patch_size=(1, spec.patch_size, spec.patch_size),
        text_dim=spec.text_embed_dim,
        ffn_dim=spec.feed_forward_dim or 4 * spec.width,
        cue_time_dim=spec.time_embed_dim,
        cue_init=spec.cue_init,
        cue_entry=spec.cue_entry,
        cue_carry=spec.cue_carry,
        cue_fusion=spec.fusion,
    )
    model.start_cues_from_base()
    return model


def load_base(model: CueBackbone, directory: Path) -> None:
    """Nothing; puts a base checkpoint's weights into the model, and starts the cue embeddings from them.

    Every parameter is accounted for: the base's come from the checkpoint, the cues' keep the model's own start. (Loaded
    by `from_pretrained`, parameters that a checkpoint lacks would be uninitialised memory.)
    Raises: UserError if a file is missing or damaged, or the checkpoint is of another architecture."""
    stated = {name: value for name, value in model.config.items() if name in model.stated}
    check_transformer_config(directory, stated)
    _fill({name: tensor for name, tensor in model.state_dict().items() if not _is_cue(name)}, directory, _is_cue)
    model.start_cues_from_base()


def load_transformer(directory: Path, spec: ModelSpec) -> CueBackbone:
    """A trained transformer with its cue parameters, frozen.

    Raises: UserError if a file is missing or damaged, or the checkpoint is of another architecture."""
    model = build_transformer(spec)
    _fill(model.state_dict(), directory)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def _fill(
    targets: Mapping[str, torch.Tensor], directory: Path, ignored: Callable[[str], bool] = lambda name: False
) -> None:
    """Nothing; copies a checkpoint's tensors into the targets of their names, one at a time, none left out.

    Raises: UserError if a file is missing or damaged, or names, shapes, kinds or values are not what is wanted."""
    places = {name: path for path in _weight_files(directory) for name in _names_of(path) if not ignored(name)}
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(set(places.values())):
        with _opened(path) as file:
            shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in places if places[name] == path}
    _check_architecture(shapes, {name: tuple(tensor.shape) for name, tensor in targets.items()}, directory)
    for path in sorted(set(places.values())):
        with _opened(path) as file:
            for name in sorted(name for name in places if places[name] == path):
                tensor = file.get_tensor(name)
                if tensor.dtype not in _WEIGHT_TYPES:
                    kinds = ", ".join(str(kind).removeprefix("torch.") for kind in _WEIGHT_TYPES)
                    raise UserError(f"{path}: {name} is of type {str(tensor.dtype)[6:]}; want weights in {kinds}")
                if not tensor.isfinite().all():
                    raise UserError(f"{path}: {name} holds NaN or infinity; the file is damaged, fetch it again")
                targets[name].copy_(tensor)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise UserError(f"weights {path} cannot be read ({error})") from error


def _names_of(path: Path) -> list[str]:
    with _opened(path) as file:
        return list(file.keys())


def _check_architecture(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], directory: Path
) -> None:
    odd = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
    if odd:
        raise UserError(f"{directory} is of another architecture: {len(odd)} tensors differ, the first is {odd[0]}")


def _is_cue(name: str) -> bool:
    return any(part in name for part in CUE_PARAMETERS)


def _weight_files(directory: Path) -> list[Path]:
    index = directory / f"{_WEIGHTS}.index.json"
    files = [directory / name for name in (_names_in(index) if index.exists() else [_WEIGHTS])]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise UserError(f"no weights at {missing[0]}; want a directory in diffusers' layout")
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


def make_transformer(spec: ModelSpec, seed: int) -> CueBackbone:
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


def make_codec(spec: ModelSpec, tiling: bool = False, device: str = "cpu") -> VideoCodec:
    """The codec that a model's latents are of, frozen; `tiling` and `device` are for the published ones, since the
    embedded one is made for a CPU.

    Raises: UserError if its directory is missing or damaged."""
    match spec.codec:
        case "embedded":
            return load_codec()
        case "cogvideox":
            return load_published_codec(spec.base, tiling, device)
        case "wan":
            return load_wan_codec(spec.base, tiling, device)


def make_text_encoder(spec: ModelSpec, device: str = "cpu") -> TextEncoder | None:
    """What turns captions into text tokens, frozen, on a device; None for a model that is told no words.

    Raises: UserError if its directory is missing or damaged."""
    if spec.text_encoder == "none":
        return None
    return load_text_encoder(spec.base, spec.text_encoder, spec.text_embed_dim, spec.max_text_tokens, device)
