"""LoRA: low-rank updates of the base's attention and feed-forward layers, the cue parameters being trained in full.

peft keeps the updates beside the frozen weights; a finished model has them added in, and is a model like any other."""

import torch
from peft import LoraConfig
from peft.tuners.lora import Linear as LowRankLinear

from directanimator.model.cue_fusion import CUE_PARAMETERS, CueFusionTransformer
from directanimator.model.spec import ModelSpec

_ADAPTED = r"transformer_blocks\.\d+\.(attn1\.(to_q|to_k|to_v|to_out\.0)|ff\.net\.(0\.proj|2))"
_FEED_FORWARD = 4
"""Width of the feed-forward layer in widths of a token."""


def add_low_rank(model: CueFusionTransformer, rank: int, seed: int) -> None:
    """Nothing; freezes the base and lays an update of this rank, zero at first, over each linear layer of its blocks.

    What the model computes stays the same bit for bit; what is trained are the updates and the cue parameters.
    Source: LoRA (arXiv 2106.09685), alpha = rank. Deviation: the paper trains all of the blocks' weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=_ADAPTED))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name or any(part in name for part in CUE_PARAMETERS))


def merge_low_rank(model: CueFusionTransformer) -> None:
    """Nothing; adds the updates, if there are any, to the weights under them. The layers are then plain ones again."""
    if any(isinstance(module, LowRankLinear) for module in model.modules()):
        model.fuse_lora()
        model.unload_lora()


def low_rank_parameters(spec: ModelSpec, rank: int) -> int:
    """How many numbers the updates of a model hold."""
    attention, feed_forward = 4 * (spec.width + spec.width), 2 * (spec.width + _FEED_FORWARD * spec.width)
    return spec.num_layers * rank * (attention + feed_forward)
