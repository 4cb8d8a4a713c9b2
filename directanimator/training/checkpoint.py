"""A training state on disk: one safetensors file, written whole or not at all, that resumes bit for bit."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from directanimator.atomic import atomic_write
from directanimator.errors import UserError
from directanimator.training.state import TrainState, trainable

_MOMENTS = ("exp_avg", "exp_avg_sq")
_PARTS = ("model", "ema", *_MOMENTS)


def _tensors(state: TrainState) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, parameter in trainable(state.model).items():
        tensors[f"model.{name}"] = parameter.detach()
        tensors[f"ema.{name}"] = state.ema[name]
        for moment in _MOMENTS:
            if parameter in state.optimizer.state:
                tensors[f"{moment}.{name}"] = state.optimizer.state[parameter][moment]
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _fits(tensors: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> bool:
    """Whether weights and average of every parameter are there, both moments or neither, and nothing else."""
    legal = {f"{part}.{name}": value.shape for part in _PARTS for name, value in parameters.items()}
    odd = any(tensor.shape != legal.get(name) for name, tensor in tensors.items())
    weights = all(f"{part}.{name}" in tensors for part in ("model", "ema") for name in parameters)
    moments = all(len({f"{moment}.{name}" in tensors for moment in _MOMENTS}) == 1 for name in parameters)
    return weights and moments and not odd


def save_checkpoint(state: TrainState, path: Path, fingerprint: str) -> None:
    """Nothing; afterwards `path` holds the whole state.

    Raises: UserError if the disk is full or the target cannot be written."""
    metadata = {"fingerprint": fingerprint, "step": str(state.step)}
    atomic_write(path, lambda draft: save_file(_tensors(state), draft, metadata))


@torch.no_grad()
def load_checkpoint(state: TrainState, path: Path, fingerprint: str) -> None:
    """Nothing; puts the checkpoint's weights, average, moments and step into a fresh state of the same shape.

    Raises: UserError if the file is damaged, of another spec, or of another architecture."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except (SafetensorError, OSError) as error:
        raise UserError(f"checkpoint {path} cannot be read ({error}); delete it to start over") from error
    if metadata.get("fingerprint") != fingerprint:
        raise UserError(f"checkpoint {path} is of spec {metadata.get('fingerprint')}, expected {fingerprint}")
    parameters = trainable(state.model)
    if not _fits(tensors, parameters):
        raise UserError(f"checkpoint {path} is of another architecture; delete it to start over")
    if not metadata.get("step", "").isdecimal():
        raise UserError(f"checkpoint {path} does not tell its step; delete it to start over")
    state.step = int(metadata["step"])
    for name, parameter in parameters.items():
        parameter.copy_(tensors[f"model.{name}"])
        state.ema[name].copy_(tensors[f"ema.{name}"])
        if f"exp_avg.{name}" in tensors:
            moments = {moment: tensors[f"{moment}.{name}"].to(parameter.device) for moment in _MOMENTS}
            state.optimizer.state[parameter] = {"step": torch.tensor(float(state.step)), **moments}
