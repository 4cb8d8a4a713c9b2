"""A training state on disk, written whole or not at all, that resumes bit for bit: safetensors, never pickle.

One file; or, where weights are sharded, a directory into which each process writes its share. Either is read by any
number of processes, sharded or not."""

import json
import warnings
from collections.abc import Callable, Container, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from directanimator.atomic import atomic_directory, atomic_write, write_json
from directanimator.errors import UserError
from directanimator.training.sharding import copy_whole
from directanimator.training.state import TrainState, trainable

_MOMENTS = ("exp_avg", "exp_avg_sq")
_TOLD = "checkpoint.json"
_PARTS = ("model", "ema", *_MOMENTS)


def _parts(state: TrainState) -> dict[str, Tensor]:
    """The tensors of a state themselves, by their names in a checkpoint."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in trainable(state.model).items():
        tensors[f"model.{name}"] = parameter.detach()
        tensors[f"ema.{name}"] = state.ema[name]
        for moment in _MOMENTS:
            if parameter in state.optimizer.state:
                tensors[f"{moment}.{name}"] = state.optimizer.state[parameter][moment]
    return tensors


def _tensors(state: TrainState) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in _parts(state).items()}


def _fits(tensors: Mapping[str, torch.Size], parameters: Mapping[str, Tensor]) -> bool:
    """Whether weights and average of every parameter are there, both moments or neither, and nothing else."""
    legal = {f"{part}.{name}": value.shape for part in _PARTS for name, value in parameters.items()}
    odd = any(shape != legal.get(name) for name, shape in tensors.items())
    weights = all(f"{part}.{name}" in tensors for part in ("model", "ema") for name in parameters)
    moments = all(len({f"{moment}.{name}" in tensors for moment in _MOMENTS}) == 1 for name in parameters)
    return weights and moments and not odd


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A state as it was at a step, in memory of its own: the training may go on while it is written."""

    tensors: Mapping[str, Tensor]
    step: int

    @classmethod
    def of(cls, state: TrainState) -> "Snapshot":
        """A copy of a state's tensors in the memory of the CPU."""
        return cls({name: tensor.to("cpu", copy=True) for name, tensor in _tensors(state).items()}, state.step)

    def write(self, path: Path, fingerprint: str) -> None:
        """Nothing; afterwards `path` holds the whole state.

        Raises: UserError if the disk is full or the target cannot be written."""
        metadata = {"fingerprint": fingerprint, "step": str(self.step)}
        atomic_write(path, lambda draft: save_file(dict(self.tensors), draft, metadata))


def save_checkpoint(state: TrainState, path: Path, fingerprint: str) -> None:
    """Nothing; afterwards `path` holds the whole state.

    Raises: UserError if the disk is full or the target cannot be written."""
    Snapshot(_tensors(state), state.step).write(path, fingerprint)


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
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    _check(path, shapes, metadata, state, fingerprint)
    for name, target in _targets(state, shapes, int(metadata["step"])).items():
        copy_whole(target, tensors[name])


def _check(
    path: Path, shapes: Mapping[str, torch.Size], metadata: Mapping[str, str], state: TrainState, fingerprint: str
) -> None:
    if metadata.get("fingerprint") != fingerprint:
        found = metadata.get("fingerprint")
        raise UserError(f"checkpoint {path} is of spec {found}, expected {fingerprint}; delete it to start over")
    if not _fits(shapes, trainable(state.model)):
        raise UserError(f"checkpoint {path} is of another architecture; delete it to start over")
    if not metadata.get("step", "").isdecimal():
        raise UserError(f"checkpoint {path} does not tell its step; delete it to start over")


def _targets(state: TrainState, names: Container[str], step: int) -> dict[str, Tensor]:
    """The tensors of a state by their names in a checkpoint, at a step; moments are made where it has them."""
    state.step = step
    for name, parameter in trainable(state.model).items():
        if f"exp_avg.{name}" in names:
            moments = {moment: torch.zeros_like(parameter, requires_grad=False) for moment in _MOMENTS}
            count = torch.tensor(float(step), device=parameter.device)  # where a fused optimizer keeps it
            state.optimizer.state[parameter] = {"step": count, **moments}
    return _parts(state)


def save_sharded(state: TrainState, path: Path, fingerprint: str) -> None:
    """Nothing; afterwards the directory `path` holds the whole state, each process's share in a file. All must call it.

    Raises: UserError on every process if one of them cannot write."""
    is_first = dist.get_rank() == 0
    with ExitStack() as place:
        draft = _said_by_the_first(lambda: str(place.enter_context(atomic_directory(path))), is_first)
        try:
            save(_tensors(state), storage_writer=HuggingFaceStorageWriter(draft, save_distributed=True))
        except CheckpointException as error:
            first = next(iter(error.failures.values()))[0]
            raise UserError(f"cannot write {path}: {str(first).splitlines()[0]}") from error

        def finish() -> str:
            told = {"fingerprint": fingerprint, "step": str(state.step), "shards": str(dist.get_world_size())}
            write_json(Path(draft) / _TOLD, told)
            place.close()
            return draft

        _said_by_the_first(finish, is_first)


def _said_by_the_first(work: Callable[[], str], is_first: bool) -> str:
    """What the first process's work returns, in all processes; they meet here.

    Raises: UserError in all of them if it does in the first one."""
    said: list[str | None] = [None, None]
    problem: UserError | None = None
    if is_first:
        try:
            said[0] = work()
        except UserError as error:
            problem, said[1] = error, str(error)
    dist.broadcast_object_list(said)
    if said[1] is not None:
        raise UserError(said[1]) from problem
    return str(said[0])


def load_sharded(state: TrainState, path: Path, fingerprint: str) -> None:
    """Nothing; puts a sharded checkpoint's weights, average, moments and step into a fresh state of the same shape.

    The state may be spread over another number of processes, or not at all; all of them must call it.
    Raises: UserError if a shard is missing or damaged, or of another spec or architecture."""
    shapes, metadata = _read_shards(path)
    _check(path, shapes, metadata, state, fingerprint)
    targets = _targets(state, shapes, int(metadata["step"]))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
        load({name: targets[name] for name in shapes}, storage_reader=HuggingFaceStorageReader(str(path)))


def _read_shards(path: Path) -> tuple[dict[str, torch.Size], dict[str, str]]:
    """Shapes of all tensors of a sharded checkpoint, and what it tells of itself; every file of it has been opened."""
    try:
        told = json.loads((path / _TOLD).read_bytes())
        shards = sorted(path.glob("*.safetensors"))
        if not isinstance(told, dict) or str(len(shards)) != told.get("shards"):
            raise UserError(f"checkpoint {path} lacks some of its shards; delete it to start over")
        for shard in shards:
            with safe_open(shard, framework="pt"):
                pass
        found = HuggingFaceStorageReader(str(path)).read_metadata().state_dict_metadata
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"checkpoint {path} cannot be read ({error}); delete it to start over") from error
    shapes = {name: value.size for name, value in found.items() if isinstance(value, TensorStorageMetadata)}
    return shapes, {key: str(value) for key, value in told.items()}
