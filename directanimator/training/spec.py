"""How a model is trained: what the two stages share, and what each adds. Imports nothing heavy."""

from typing import Annotated, Literal

from pydantic import Field

from directanimator.frozen import FrozenSpec
from directanimator.model.spec import Precision

Share = Annotated[float, Field(ge=0, le=1)]


class OptimSpec(FrozenSpec):
    """AdamW and its schedule, for both stages."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Peak rate. Paper: 2e-5."""
    cue_norm_rate_factor: Annotated[float, Field(gt=0, le=1000)] = 50.0
    """How much faster the affine weights of the cue norms learn. They start at zero beside hidden states of unit scale,
    and Adam moves a weight by about the rate a step: at the plain rate a short training never hears its cues."""
    warmup_steps: Annotated[int, Field(ge=0)] = 30
    decay_share: Share = 0.3
    """Share of a stage's steps, at its end, over which the rate falls linearly to a tenth."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.95
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    global_batch_size: Annotated[int, Field(ge=1)] = 4
    """Clips per step over all processes; the batch per device is derived."""
    lora_rank: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Rank of the updates that blocks are trained by (LoRA), the cue parameters in full. none: all weights, in full."""
    precision: Precision = "bf16"
    """Of products; weights and their updates are fp32. Where a processor does not multiply in bf16, fp32."""
    ema_decay: Share = 0.99
    cue_dropout: Share = 0.1
    """Chance that a clip is trained with null cues; feeds guidance over cues."""
    text_dropout: Share = 0.1
    """Chance that a clip is trained with an empty caption; feeds guidance over text. Read with captions alone."""


class SameIdSpec(FrozenSpec):
    """First stage: reference and driving video from one clip."""

    steps: Annotated[int, Field(ge=1)] = 900


class CrossIdSpec(FrozenSpec):
    """Second stage: the driving cues show another person."""

    steps: Annotated[int, Field(ge=1)] = 1300
    same_id_share: Share = 0.3
    """Share of same-ID pairs mixed in."""
    init: Literal["teacher", "base"] = "teacher"
    """Where the student starts. The paper says `a new model`; the notes on it call stage one pre-training."""


class Same2XSpec(FrozenSpec):
    """Alignment of the cross-ID student to the frozen same-ID teacher (paper, L_S2X)."""

    enabled: bool = True
    weight: Annotated[float, Field(ge=0, le=100)] = 0.5
    """lambda. Paper: 0.5."""
    depth: Annotated[float, Field(gt=0, le=1)] = 0.33
    """Share of the blocks after which tokens are compared, so that it means the same in a model of any depth. Paper:
    D = 10 of 42, 0.24."""

    def block(self, num_layers: int) -> int:
        """D, the number of blocks after which tokens are compared: the nearest to the share, 1..num_layers."""
        return max(1, round(self.depth * num_layers))
