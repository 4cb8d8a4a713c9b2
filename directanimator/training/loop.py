"""The training loop: a pure schedule, one step, and a generator over steps. Periodic work belongs to the caller."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

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


def learning_rate(step: int, total_steps: int, spec: OptimSpec) -> float:
    """The rate of step `step` (0-based): linear warm-up, constant, linear decay to a tenth over the last share."""
    warmup = min(1.0, (step + 1) / (spec.warmup_steps + 1))
    decay_steps = spec.decay_share * total_steps
    left = min(1.0, (total_steps - step) / decay_steps) if decay_steps else 1.0
    return spec.learning_rate * warmup * (FINAL_RATE + (1 - FINAL_RATE) * left)


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


def train_step(
    state: TrainState,
    model: nn.Module,
    batch: Batch,
    objective: Callable[[nn.Module, Batch], Losses],
    rate: float,
    spec: OptimSpec,
    accelerator: Accelerator,
) -> dict[str, float]:
    """The losses before one optimizer step on `batch`, and the gradient's norm; changes `state`.

    `model` is `state.model` as the launcher wrapped it."""
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]
    with accelerator.autocast(), suitable_attention(accelerator):
        losses = objective(model, batch)
    accelerator.backward(losses["loss"])
    norm = nn.utils.clip_grad_norm_(trainable(state.model).values(), spec.max_grad_norm)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    update_average(state, spec.ema_decay)
    means = accelerator.reduce(torch.stack([value.detach().float() for value in losses.values()]), reduction="mean")
    return dict(zip(losses, means.tolist(), strict=True)) | {"grad_norm": float(norm), "learning_rate": rate}


def train(
    state: TrainState,
    batch_at: Callable[[int], Batch],
    objective: Callable[[nn.Module, Batch], Losses],
    total_steps: int,
    spec: OptimSpec,
    accelerator: Accelerator,
) -> Iterator[StepResult]:
    """The results of the steps that are left, from `state.step` to `total_steps`.

    `batch_at(step)` is a function of the step alone, so a resumed training sees what an unbroken one would have."""
    model = accelerator.prepare_model(state.model)
    model.train()
    while state.step < total_steps:
        rate = learning_rate(state.step, total_steps, spec)
        metrics = train_step(state, model, batch_at(state.step), objective, rate, spec, accelerator)
        yield StepResult(state.step, metrics)
