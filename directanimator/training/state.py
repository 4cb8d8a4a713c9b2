"""All that training changes, in one place: weights, their average, the optimizer, the step."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from directanimator.training.spec import OptimSpec


@dataclass
class TrainState:
    """The mutable state of a training; everything else is a function of it and the spec."""

    model: nn.Module
    optimizer: torch.optim.AdamW
    ema: dict[str, Tensor]
    """Exponential moving average of the trainable parameters, fp32, by name."""
    step: int = 0
    """Optimizer steps done."""


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def is_cue_norm(name: str) -> bool:
    """Whether a parameter of this name scales or shifts a cue's normalized tokens."""
    return ".cues.norm_" in name


def new_state(model: nn.Module, spec: OptimSpec) -> TrainState:
    """A state at step 0 whose average equals the model."""
    parameters = trainable(model)
    cue_norms = [value for name, value in parameters.items() if is_cue_norm(name)]
    others = [value for name, value in parameters.items() if not is_cue_norm(name)]
    groups = [{"params": others, "rate_factor": 1.0}]
    if cue_norms:
        groups.append({"params": cue_norms, "rate_factor": spec.cue_norm_rate_factor, "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(
        groups,
        lr=spec.learning_rate,
        betas=(0.9, spec.beta2),
        weight_decay=spec.weight_decay,
        fused=True,
    )
    return TrainState(model, optimizer, {name: value.detach().clone() for name, value in parameters.items()})


@torch.no_grad()
def update_average(state: TrainState, decay: float) -> None:
    """Nothing; moves the average a share (1 - decay) towards the weights. Early on faster: (1 + step) / (10 + step)."""
    decay = min(decay, (1 + state.step) / (10 + state.step))
    current = trainable(state.model)
    torch._foreach_lerp_(list(state.ema.values()), [current[name] for name in state.ema], 1 - decay)


@torch.no_grad()
def load_average(state: TrainState) -> None:
    """Nothing; puts the averaged weights into the model."""
    current = trainable(state.model)
    for name, value in state.ema.items():
        current[name].copy_(value)
