"""Weights in PyTorch's own file format, which may hold a program: only tensors are ever taken from it."""

from pathlib import Path
from typing import TYPE_CHECKING

from directanimator.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def stored_tensors(path: Path) -> "dict[str, Tensor]":
    """The tensors of a state dictionary; nothing else is unpickled.

    Raises: UserError if the file holds anything else."""
    import torch

    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # what a hostile file makes of the reader is no closed list
        raise UserError(f"{path}: not a file of weights: {reason(problem)}") from problem
    if not isinstance(stored, dict) or not all(isinstance(value, torch.Tensor) for value in stored.values()):
        raise UserError(f"{path}: not a state dictionary of tensors")
    return dict(stored)


def reason(problem: Exception) -> str:
    """The second line of what a loader says, which names what is wrong, or the only one."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return (lines[1] if len(lines) > 1 else lines[0] if lines else type(problem).__name__)[:200]
