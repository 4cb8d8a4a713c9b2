"""What a model costs, counted without making it: parameters, operations, bytes kept for the backward pass.

Counted on the meta device on models of one and of two blocks; every further block costs what the second one does."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from directanimator.model.backbone import CueBackbone
from directanimator.model.cue_fusion import CUE_PARAMETERS
from directanimator.model.cue_streams import MASK_CHANNELS, CueLatents
from directanimator.model.embedded import build_transformer
from directanimator.model.spec import ModelSpec


@dataclass(frozen=True)
class LatentGrid:
    """What the model denoises: clips, latent frames, rows and columns."""

    batch: int
    frames: int
    height: int
    width: int


@dataclass(frozen=True)
class ModelCounts:
    """The cost of one training step of a model on a batch, without its optimizer."""

    base_parameters: int
    cue_parameters: int
    block_parameters: int
    """Of one block, cues included."""
    forward_flops: int
    """Of one forward pass; a backward pass takes twice that."""
    block_flops: int
    """Of one block's forward pass."""
    activation_bytes: int
    """Kept for the backward pass, without gradient checkpointing."""
    checkpointed_bytes: int
    """The most that is kept with it: the input of every block, and the inside of one."""

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.base_parameters + self.cue_parameters


def count_model(spec: ModelSpec, grid: LatentGrid, dtype: torch.dtype = torch.float32) -> ModelCounts:
    """The counts of a model, its numbers of type `dtype`, on clips of a latent grid, filled up to temporal patches.

    Deviation: attention is counted as a fused kernel keeps it (queries, keys, values, result), which is what a GPU and
    this library's float path run; under autocast a few norms keep wider copies that are not in it."""
    grid = replace(grid, frames=spec.padded(grid.frames))
    with torch.device("meta"):
        one, two = (_small(spec, layers, dtype) for layers in (1, 2))
        inputs = empty_inputs(one, spec, grid, dtype)
    flops = [_flops(model, inputs) for model in (one, two)]
    kept = [_kept_bytes(model, inputs) for model in (one, two)]
    sizes = [_sizes(model) for model in (one, two)]
    more = spec.num_layers - 1
    base, cues = (sizes[0][kind] + more * (sizes[1][kind] - sizes[0][kind]) for kind in (0, 1))
    block_kept = kept[1] - kept[0]
    return ModelCounts(
        base_parameters=base,
        cue_parameters=cues,
        block_parameters=sum(sizes[1]) - sum(sizes[0]),
        forward_flops=flops[0] + more * (flops[1] - flops[0]),
        block_flops=flops[1] - flops[0],
        activation_bytes=kept[0] + more * block_kept,
        checkpointed_bytes=kept[0] + more * _handed_on_bytes(one, spec, grid, dtype),
    )


def _small(spec: ModelSpec, layers: int, dtype: torch.dtype) -> CueBackbone:
    model = build_transformer(spec.model_copy(update={"num_layers": layers}))
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def empty_inputs(
    model: CueBackbone, spec: ModelSpec, grid: LatentGrid, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor, CueLatents]:
    """What the model is called with, of the right shapes and kinds and without values."""
    cells = (grid.batch, grid.frames, model.latent_channels, grid.height, grid.width)
    masks = (grid.batch, grid.frames, MASK_CHANNELS, grid.height, grid.width)
    latents, reference, pose, face = (torch.empty(cells, dtype=dtype) for _ in range(4))
    body, head = (torch.empty(masks, dtype=dtype) for _ in range(2))
    present = torch.empty(grid.batch, grid.frames, dtype=torch.bool)
    text = torch.empty(grid.batch, spec.max_text_tokens, spec.text_embed_dim, dtype=dtype)
    timestep = torch.empty(grid.batch, dtype=torch.long)
    return latents, reference, text, timestep, CueLatents(pose, face, body, head, present, present)


def _sizes(model: CueBackbone) -> tuple[int, int]:
    """Parameters of the base, and of the cues."""
    cues = sum(p.numel() for n, p in model.named_parameters() if any(part in n for part in CUE_PARAMETERS))
    return sum(p.numel() for p in model.parameters()) - cues, cues


@torch.no_grad()
def _flops(model: CueBackbone, inputs: tuple[Any, ...]) -> int:
    with FlopCounterMode(display=False) as counter:
        model(*inputs)
    return int(counter.get_total_flops())


class _FusedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:  # torch's own interface
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise NotImplementedError("counted, never run")


class _CountedAttention(TorchFunctionMode):
    """Keeps of attention what a fused kernel keeps; the meta device itself would keep the whole score matrix."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            given = (*args, *((kwargs or {}).get(name) for name in ("query", "key", "value")[len(args) :]))
            return _FusedAttention.apply(*given[:3])
        return func(*args, **(kwargs or {}))


def _kept_bytes(model: CueBackbone, inputs: tuple[Any, ...]) -> int:
    kept: dict[int, int] = {}
    owned = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    alive: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in owned:
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)  # an address is unique only while its tensor lives
        return tensor

    with _CountedAttention(), saved_tensors_hooks(pack, lambda tensor: tensor):
        model(*inputs)
    return sum(kept.values())


def _handed_on_bytes(model: CueBackbone, spec: ModelSpec, grid: LatentGrid, dtype: torch.dtype) -> int:
    """Bytes of what one block makes and hands to the next: tokens, and its cue streams."""
    tokens = model.tokens_handed_on(grid.frames, grid.height, grid.width, spec.max_text_tokens)
    return grid.batch * tokens * spec.width * dtype.itemsize
