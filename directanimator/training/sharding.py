"""A model whose weights, gradients and moments are spread over the processes (FSDP2); each holds its share alone.

Whoever computes with a block gathers it first and lets go of it afterwards. Numbers change by rounding alone."""

import warnings

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from directanimator.model.backbone import CueBackbone


def shard(model: CueBackbone, device_type: str) -> None:
    """Nothing; spreads the model over all processes, block by block, on their devices."""
    # Nobody changes an output of the model in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(device_type, (torch.distributed.get_world_size(),))
    for block in model.cue_blocks:
        fully_shard(block, mesh=mesh)
    # By default the outermost part stays whole after a forward pass, and that of a held-out loss has no backward pass.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    register_fsdp_forward_method(model, "features")


def is_sharded(model: nn.Module) -> bool:
    """Whether a process holds only its share of the model."""
    return isinstance(model, FSDPModule)


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """All weights of a sharded model, in the memory of the main process; nothing on the others. All must call it."""
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return {name: weight for name, weight in whole.items() if isinstance(weight, Tensor)}


@torch.no_grad()
def copy_whole(target: Tensor, values: Tensor) -> None:
    """Nothing; copies a whole tensor into one that may be sharded."""
    if isinstance(target, DTensor):
        values = distribute_tensor(values.to(target.device), target.device_mesh, target.placements)
    target.copy_(values)
