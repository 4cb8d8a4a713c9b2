"""The training loop: a pure schedule, one step, and a generator over steps. Periodic work belongs to the caller."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs, KwargsHandler
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from directanimator.errors import UserError
from directanimator.model.precision import device_kind, precision_on
from directanimator.model.spec import Precision
from directanimator.training.sharding import is_sharded
from directanimator.training.spec import OptimSpec
from directanimator.training.state import TrainState, trainable, update_average

Batch = TypeVar("Batch")
Losses = dict[str, Tensor]
"""Scalars by name; `loss` is the one that is minimized."""
FINAL_RATE = 0.1
"""Learning rate at the end of the decay, as a share of the peak."""


@dataclass(frozen=True)
class StepResult:
    """What one step leaves for whoever watches."""

    step: int
    """Steps done, this one included."""
    metrics: dict[str, float]


class DivergedTrainingError(UserError):
    """The loss or its gradient became no finite number; says where, and what to try."""

    def __init__(self, step: int, metrics: dict[str, float], spec: OptimSpec) -> None:
        first = (step - 1) * spec.global_batch_size
        values = ", ".join(f"{name}={value:g}" for name, value in metrics.items())
        super().__init__(
            f"training diverged at step {step} (samples {first}..{first + spec.global_batch_size - 1}: {values}); the "
            "last checkpoint stands; try a lower optim.learning_rate or optim.precision=fp32"
        )


def learning_rate(step: int, total_steps: int, spec: OptimSpec) -> float:
    """The rate of step `step` (0-based): linear warm-up, constant, linear decay to a tenth over the last share."""
    warmup = min(1.0, (step + 1) / (spec.warmup_steps + 1))
    decay_steps = spec.decay_share * total_steps
    left = min(1.0, (total_steps - step) / decay_steps) if decay_steps else 1.0
    return spec.learning_rate * warmup * (FINAL_RATE + (1 - FINAL_RATE) * left)


def make_accelerator(precision: Precision, *handlers: KwargsHandler) -> Accelerator:
    """The processes of a training: one, or as many as the launcher started."""
    device = device_kind()
    mixed = "bf16" if precision_on(device, precision) == "bf16" else "no"
    return Accelerator(cpu=device == "cpu", mixed_precision=mixed, kwargs_handlers=list(handlers))


@contextmanager
def suitable_attention(accelerator: Accelerator) -> Iterator[None]:
    """A block in which attention takes the kernel that suits the machine.

    On a CPU in bf16 that is plain matrix products: at a few hundred tokens PyTorch's fused kernel takes twice as long,
    and a whole step 1.2 times."""
    if accelerator.device.type != "cpu" or accelerator.mixed_precision != "bf16":
        yield
        return
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)


def mixed_precision(model: nn.Module, accelerator: Accelerator) -> AbstractContextManager[None]:
    """A block in which the model computes in the training's precision.

    Autocast keeps what it has cast of every weight, which of a sharded model would be all of it at once."""
    return accelerator.autocast(AutocastKwargs(cache_enabled=not is_sharded(model)))


def whole(batch: Batch) -> Sequence[Batch]:
    """The batch in one part."""
    return [batch]


def _accumulated(
    model: nn.Module,
    parts: Sequence[Batch],
    objective: Callable[[nn.Module, Batch], Losses],
    accelerator: Accelerator,
) -> Losses:
    """The mean losses of the parts, detached; the gradient of the mean is added to the parameters."""
    seen: list[Losses] = []
    for number, part in enumerate(parts, start=1):
        meets = nullcontext() if number == len(parts) else accelerator.no_sync(model)
        with meets, suitable_attention(accelerator):  # blocks that are checkpointed attend in the backward pass again
            with mixed_precision(model, accelerator):
                losses = objective(model, part)
            accelerator.backward(losses["loss"] if len(parts) == 1 else losses["loss"] / len(parts))
        seen.append({name: value.detach().float() for name, value in losses.items()})
    return seen[0] if len(seen) == 1 else {n: torch.stack([losses[n] for losses in seen]).mean() for n in seen[0]}


def train_step(
    state: TrainState,
    model: nn.Module,
    batch: Batch,
    objective: Callable[[nn.Module, Batch], Losses],
    rate: float,
    spec: OptimSpec,
    accelerator: Accelerator,
    split: Callable[[Batch], Sequence[Batch]] = whole,
) -> dict[str, float]:
    """The losses before one optimizer step on `batch`, and the gradient's norm; changes `state`.

    `model` is `state.model` as the launcher wrapped it. The parts that `split` makes of the batch must be equally
    large; their gradients are accumulated, so that only one of them is in memory, and processes meet at the last."""
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]
    losses = _accumulated(model, split(batch), objective, accelerator)
    norm = nn.utils.clip_grad_norm_(trainable(state.model).values(), spec.max_grad_norm)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    update_average(state, spec.ema_decay)
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    means = accelerator.reduce(torch.stack(list(losses.values())), reduction="mean")
    return dict(zip(losses, means.tolist(), strict=True)) | {"grad_norm": float(norm), "learning_rate": rate}


def train(
    state: TrainState,
    batch_at: Callable[[int], Batch],
    objective: Callable[[nn.Module, Batch], Losses],
    total_steps: int,
    spec: OptimSpec,
    accelerator: Accelerator,
    split: Callable[[Batch], Sequence[Batch]] = whole,
) -> Iterator[StepResult]:
    """The results of the steps that are left, from `state.step` to `total_steps`.

    A state whose loss or gradient was no number is never given out: who saves after a result keeps the last good one.
    Raises: DivergedTrainingError when the loss or the gradient's norm is no finite number.

    `batch_at(step)` is a function of the step alone, so a resumed training sees what an unbroken one would have."""
    model = state.model if is_sharded(state.model) else accelerator.prepare_model(state.model)
    model.train()
    while state.step < total_steps:
        rate = learning_rate(state.step, total_steps, spec)
        metrics = train_step(state, model, batch_at(state.step), objective, rate, spec, accelerator, split)
        if not (math.isfinite(metrics["loss"]) and math.isfinite(metrics["grad_norm"])):
            raise DivergedTrainingError(state.step, metrics, spec)
        yield StepResult(state.step, metrics)
