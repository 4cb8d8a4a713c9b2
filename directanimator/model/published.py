"""Models as they are published: the parts of a local directory in diffusers' layout, beside the transformer.

`vae/`, `text_encoder/`, `tokenizer/` and `scheduler/` of CogVideoX1.5-5B-I2V, CogVideoX-5B-I2V or Wan2.2-TI2V-5B.
Nothing is ever fetched: what is missing is said."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from directanimator.errors import UserError
from directanimator.model.codec import GROUP
from directanimator.model.precision import precision_on
from directanimator.model.spec import OUR_BASES, TextEncoderName

if TYPE_CHECKING:
    from transformers import T5EncoderModel, T5Tokenizer, UMT5EncoderModel

T = TypeVar("T")
EMPTY_TEXT_FILE = "empty_text.safetensors"
"""In a checkpoint of a model that is told words: the text tokens of an empty caption."""
FRAMES_IN_STEP = 8
"""CogVideoX's VAE keeps 8k + 1 frames and no other number."""
SHIFTS = ("snr_shift_scale", "flow_shift", "shift")
"""What `sampling.snr_shift_scale` is called in the settings of published schedulers."""


_Vae = AutoencoderKLCogVideoX | AutoencoderKLWan


class CogVideoXCodec:
    """CogVideoX's own video VAE behind the library's protocol, frozen; wherever it runs, what it gives is on the CPU.

    Deviation: latents are the mean of the posterior, not a sample of it, so that a pool is the same whoever makes it;
    its spread is about a thousandth of the latents' own."""

    def __init__(self, vae: AutoencoderKLCogVideoX) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self._scale = float(vae.config["scaling_factor"])
        self._reference_scale = 1 / self._scale if vae.config["invert_scale_latents"] else self._scale

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return int(self.vae.config["latent_channels"])

    @property
    def cell(self) -> int:
        """Pixels per latent cell and side."""
        return 2 ** (len(self.vae.config["block_out_channels"]) - 1)

    @torch.no_grad()
    def encode(self, video: Float[Tensor, "b f 3 h w"]) -> Float[Tensor, "b lf c lh lw"]:
        """Latents of about unit scale for video in [-1, 1].

        Raises: ValueError unless f = 8k + 1 and the sides are multiples of the cell."""
        return self._scale * self._mean(video)

    @torch.no_grad()
    def encode_reference(self, image: Float[Tensor, "b 1 3 h w"]) -> Float[Tensor, "b 1 c lh lw"]:
        """Latents of a reference image, as the published transformer reads them.

        CogVideoX1.5 divides those by the scaling factor, where everything else is multiplied."""
        return self._reference_scale * self._mean(image)

    def _mean(self, video: Tensor) -> Tensor:
        if video.shape[1] % FRAMES_IN_STEP != 1:
            raise ValueError(f"expected 8k + 1 frames, got {video.shape[1]}; CogVideoX's VAE keeps no other number")
        _check_sides(video, self.cell)
        return _mean_of(self.vae, video).float().cpu()

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "b lf c lh lw"]) -> Float[Tensor, "b f 3 h w"]:
        """Video in [-1, 1]."""
        return _decoded(self.vae, latents / self._scale)


class WanCodec:
    """Wan's own video VAE behind the library's protocol, frozen; wherever it runs, what it gives is on the CPU.

    Source: Wan's pipeline in diffusers, whose latents are those of the VAE less their mean, by their deviation.
    Deviation: the mean of the posterior, as there for images only, so that a pool is the same whoever makes it."""

    def __init__(self, vae: AutoencoderKLWan) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self._mean, self._std = (
            torch.tensor(vae.config[name]).view(-1, 1, 1) for name in ("latents_mean", "latents_std")
        )

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return int(self.vae.config["z_dim"])

    @property
    def cell(self) -> int:
        """Pixels per latent cell and side."""
        return int(self.vae.config["scale_factor_spatial"])

    @torch.no_grad()
    def encode(self, video: Float[Tensor, "b f 3 h w"]) -> Float[Tensor, "b lf c lh lw"]:
        """Latents of unit scale for video in [-1, 1].

        Raises: ValueError unless f = 4k + 1 and the sides are multiples of the cell."""
        if video.shape[1] % GROUP != 1:
            raise ValueError(f"expected 4k + 1 frames, got {video.shape[1]}; trim or pad the clip")
        _check_sides(video, self.cell)
        return (_mean_of(self.vae, video).float().cpu() - self._mean) / self._std

    @torch.no_grad()
    def encode_reference(self, image: Float[Tensor, "b 1 3 h w"]) -> Float[Tensor, "b 1 c lh lw"]:
        """Latents of a reference image: those of a video of one frame."""
        return self.encode(image)

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "b lf c lh lw"]) -> Float[Tensor, "b f 3 h w"]:
        """Video in [-1, 1]."""
        return _decoded(self.vae, latents.cpu() * self._std + self._mean)


def _mean_of(vae: _Vae, video: Float[Tensor, "b f 3 h w"]) -> Float[Tensor, "b lf c lh lw"]:
    """The posterior's mean, in the VAE's own precision whatever the model around computes in."""
    volume = video.transpose(1, 2).to(vae.device, vae.dtype)
    with torch.autocast(vae.device.type, enabled=False):
        mean: Tensor = vae.encode(volume).latent_dist.mode()
    return mean.transpose(1, 2)


def _decoded(vae: _Vae, latents: Float[Tensor, "b lf c lh lw"]) -> Float[Tensor, "b f 3 h w"]:
    """Video in [-1, 1], made in the VAE's own precision too: pools and answers are of one codec."""
    volume = latents.transpose(1, 2).to(vae.device, vae.dtype)
    with torch.autocast(vae.device.type, enabled=False):
        video: Tensor = vae.decode(volume).sample
    return video.transpose(1, 2).float().clamp(-1, 1).cpu()


def _check_sides(video: Float[Tensor, "b f 3 h w"], cell: int) -> None:
    _, _, _, height, width = video.shape
    if height % cell or width % cell:
        raise ValueError(f"expected sides in multiples of {cell}, got {height} x {width}; resize the clip")


def load_published_codec(base: str, tiling: bool = False, device: str = "cpu") -> CogVideoXCodec:
    """CogVideoX's VAE of a published directory on a device; with tiling, pictures are decoded part by part, in memory
    that does not grow.

    Raises: UserError if it is missing or damaged."""
    directory = part_of(base, "vae")
    vae = _loaded(directory, lambda: AutoencoderKLCogVideoX.from_pretrained(directory, torch_dtype=torch.float32))
    if tiling:
        vae.enable_tiling()
    return CogVideoXCodec(vae.to(device))


def load_wan_codec(base: str, tiling: bool = False, device: str = "cpu") -> WanCodec:
    """Wan's VAE of a published directory on a device; with tiling, pictures are decoded part by part.

    Raises: UserError if it is missing, damaged, or not of image-to-video Wan2.2-5B's kind."""
    directory = part_of(base, "vae")
    vae = _loaded(directory, lambda: AutoencoderKLWan.from_pretrained(directory, torch_dtype=torch.float32))
    if tiling:
        vae.enable_tiling()
    return WanCodec(vae.to(device))


class TextEncoder:
    """The published T5: prompts become the text tokens that the transformer reads, frozen."""

    def __init__(self, tokenizer: "T5Tokenizer", encoder: "T5EncoderModel | UMT5EncoderModel", max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._encoder = encoder.eval().requires_grad_(False)
        self._max_tokens = max_tokens

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Float[Tensor, "b m t"]:
        """Tokens of each prompt, padded and cut to the model's number of them; padding is encoded too, as published."""
        ids = self._tokenizer(
            list(prompts), padding="max_length", max_length=self._max_tokens, truncation=True, return_tensors="pt"
        ).input_ids
        tokens: Tensor = self._encoder(ids.to(self._encoder.device))[0]
        return tokens.float().cpu()


class MaskedTextEncoder(TextEncoder):
    """Wan's UMT5, which is not told the padding, and whose tokens of padding are zero."""

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Float[Tensor, "b m t"]:
        """Tokens of each prompt, cut to the model's number of them, or filled up to it with zeros.

        Source: Wan's pipeline in diffusers. Deviation: prompts are taken as they are, where it repairs broken
        characters first."""
        told = self._tokenizer(
            list(prompts), padding="max_length", max_length=self._max_tokens, truncation=True, return_tensors="pt"
        )
        here, mask = self._encoder.device, told.attention_mask
        tokens: Tensor = self._encoder(told.input_ids.to(here), mask.to(here))[0]
        return tokens.float().cpu() * mask[:, :, None]


def load_text_encoder(
    base: str, kind: TextEncoderName, text_embed_dim: int, max_tokens: int, device: str = "cpu"
) -> TextEncoder:
    """The T5 or UMT5 of a published directory, on a device.

    Raises: UserError if it or its tokenizer is missing or damaged, or of another width."""
    from transformers import T5EncoderModel, T5Tokenizer, UMT5EncoderModel  # slow

    words, net = part_of(base, "tokenizer"), part_of(base, "text_encoder")
    if not any((words / name).is_file() for name in ("spiece.model", "tokenizer.json")):
        raise UserError(f"{words} holds no vocabulary; want spiece.model or tokenizer.json")
    tokenizer: T5Tokenizer = _loaded(words, lambda: T5Tokenizer.from_pretrained(words))
    network = UMT5EncoderModel if kind == "umt5" else T5EncoderModel
    dtype = torch.bfloat16 if precision_on(torch.device(device).type, "bf16") == "bf16" else torch.float32
    encoder = _loaded(net, lambda: network.from_pretrained(net, dtype=dtype, local_files_only=True))
    encoder.to(torch.device(device))  # type: ignore[arg-type]  # its decorator hides the method
    width = encoder.config.d_model
    if width != text_embed_dim:
        raise UserError(f"{net} writes tokens of {width} values, model.text_embed_dim={text_embed_dim}")
    return (MaskedTextEncoder if kind == "umt5" else TextEncoder)(tokenizer, encoder, max_tokens)


def check_scheduler(base: str, wanted: Mapping[str, object]) -> None:
    """Nothing; compares the published noise schedule with the settings that the spec's has.

    Raises: UserError if the weights were trained on another."""
    path = part_of(base, "scheduler") / "scheduler_config.json"
    published = _read_json(path)
    for name, value in wanted.items():
        if published.get(name, value) != value:
            field = "sampling.snr_shift_scale" if name in SHIFTS else name
            raise UserError(f"{path}: the weights were trained with {name}={published[name]}, not {field}={value}")


def part_of(base: str, name: str) -> Path:
    """The directory of one part of a published model.

    Raises: UserError if there is none."""
    if base in OUR_BASES:
        raise UserError(f"model.base={base} has no {name}/; want model.base=DIR, a published directory of diffusers")
    root = Path(base).expanduser()
    if not root.is_dir():
        raise UserError(f"model.base={base}: no such directory; want a published directory of diffusers")
    directory = root / name
    if not directory.is_dir():
        found = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "nothing"
        raise UserError(f"model.base={base} has no {name}/ (found {found}); copy the whole published directory")
    return directory


def check_transformer_config(directory: Path, expected: dict[str, object]) -> None:
    """Nothing; compares the published transformer's `config.json` with the values that the spec implies.

    Shapes alone do not tell heads from head width, or where positions are counted from.
    Raises: UserError that names the first value that differs; one that the file does not state is not judged."""
    path = directory / "config.json"
    if not path.is_file():
        return
    published = _read_json(path)
    for name, value in expected.items():
        if name in published and published[name] != (list(value) if isinstance(value, tuple) else value):
            raise UserError(f"{directory} is of another architecture: {name}={published[name]}, the spec wants {value}")


def _read_json(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__})") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no settings; want a JSON object")
    return found


def _loaded(directory: Path, load: Callable[[], T]) -> T:
    """What is loaded, with every way in which a local directory can be damaged said in one line."""
    try:
        return load()
    except (OSError, SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise UserError(f"{directory} cannot be read: {str(error).splitlines()[0]}") from error
