"""What becomes of precisions and devices on a GPU, seen without one: tensors that have a device and no values."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from directanimator.model import precision
from directanimator.model.backbone import CueBackbone
from directanimator.model.cue_streams import CueLatents, CueStream
from directanimator.model.embedded import build_transformer
from directanimator.model.published import CogVideoXCodec, WanCodec, load_published_codec, load_wan_codec
from directanimator.model.spec import ModelSpec, Precision
from directanimator.training import checkpoint
from directanimator.training.checkpoint import Snapshot
from directanimator.training.spec import OptimSpec
from directanimator.training.state import new_state
from tests.directanimator.model.test_cue_fusion import inputs, model_of, random_cues
from tests.directanimator.model.test_wan_fusion import SPEC as WAN
from tests.published import write_published, write_wan

COGVIDEOX = ModelSpec(
    base="random", num_layers=2, num_heads=2, head_dim=16, latent_channels=4, time_embed_dim=24, text_embed_dim=8
)
CASES = {
    f"{name}-{'-'.join(map(str, changes.values()))}": spec.model_copy(update=changes)
    for name, spec in (("cogvideox", COGVIDEOX), ("wan", WAN))
    for changes in (
        {"fusion": "adaln", "cue_entry": "residual"},
        {"fusion": "adaln", "cue_entry": "attention"},
        {"fusion": "cross_attention"},
    )
} | {"cogvideox-concat": COGVIDEOX.model_copy(update={"fusion": "concat"})}


@contextmanager
def on_a_gpu() -> Iterator[None]:
    """A block in bf16 autocast on a device that need not be there."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.autocast_increment_nesting()
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()


def precisions(model: CueBackbone, told: list[Tensor], cues: CueLatents | None) -> list[set[torch.dtype]]:
    """Of all that each block hands on."""
    seen: list[set[torch.dtype]] = []

    def note(_block: object, _given: object, handed: tuple[Tensor, Tensor, tuple[CueStream, ...] | None]) -> None:
        tokens, words, streams = handed
        tensors = [tokens, words, *(part for stream in streams or () for part in stream)]
        seen.append({tensor.dtype for tensor in tensors})

    hooks = [block.register_forward_hook(note) for block in model.cue_blocks]
    model(*told, cues)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_on_a_gpu_too_cues_leave_all_tokens_in_the_precision_of_the_base(case: str) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            model = build_transformer(CASES[case])
        told = [tensor.to("cuda") for tensor in inputs(0)]
        cues = CueLatents(**{name: value.to("cuda") for name, value in vars(random_cues(0)).items()})
        with on_a_gpu():
            without, fused = precisions(model, told, None), precisions(model, told, cues)
    assert fused == without


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
@pytest.mark.parametrize("has_bf16", [True, False])
def test_products_are_made_in_bf16_where_that_is_wanted_and_had(
    wanted: Precision, has_bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda: has_bf16)
    precision.multiplies_in_bf16.cache_clear()
    one = torch.ones(2, 2)
    with precision.autocast("cpu", wanted):
        product = one @ one
    assert (product.dtype == torch.bfloat16) == (wanted == "bf16" and has_bf16)
    assert precision.precision_on("cuda", wanted) == wanted
    precision.multiplies_in_bf16.cache_clear()


@pytest.mark.parametrize("kind", ["cogvideox", "wan"])
@torch.no_grad()
def test_a_codec_runs_where_it_is_asked_to_and_what_it_gives_is_where_all_else_is(kind: str, tmp_path: Path) -> None:
    directory = write_wan(tmp_path) if kind == "wan" else write_published(tmp_path, "1.5")
    load = load_wan_codec if kind == "wan" else load_published_codec
    elsewhere = load(str(directory), device="meta").vae
    assert elsewhere.device.type == "meta"
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            vae = type(elsewhere).from_config(elsewhere.config)
        codec, video = (WanCodec if kind == "wan" else CogVideoXCodec)(vae), torch.zeros(1, 9, 3, 32, 32)
        latents = codec.encode(video)
        decoded = [codec.decode(latents.to(device)) for device in ("cpu", "cuda")]
        given = [latents, codec.encode_reference(video[:, :1]), *decoded]
    assert {tensor.device.type for tensor in given} == {"cpu"}


def test_a_state_that_comes_back_lies_where_its_parameters_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fused optimizer keeps its count of steps there as well."""
    spec, path = OptimSpec(), tmp_path / "state.safetensors"
    state = new_state(model_of(COGVIDEOX, 0), spec)
    for parameter in state.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    Snapshot.of(state).write(path, "x")
    with safe_open(path, framework="pt") as file:
        metadata, shapes = file.metadata(), {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    valueless = Mock(metadata=lambda: metadata, keys=lambda: shapes.keys())
    valueless.get_tensor = lambda name: torch.zeros(shapes[name])
    monkeypatch.setattr(checkpoint, "safe_open", lambda *_, **__: nullcontext(valueless))
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            moved = new_state(build_transformer(COGVIDEOX), spec)
        checkpoint.load_checkpoint(moved, path, "x")
    lie = {value.device.type for moments in moved.optimizer.state.values() for value in moments.values()}
    assert lie == {"cuda"}
