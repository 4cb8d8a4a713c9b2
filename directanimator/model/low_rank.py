"""LoRA: low-rank updates of the base's attention and feed-forward layers, the cue parameters being trained in full.

peft keeps the updates beside the frozen weights; a finished model has them added in, and is a model like any other."""

import re

import torch
from peft import LoraConfig
from peft.tuners.lora import Linear as LowRankLinear
from torch import nn

from directanimator.model.backbone import CueBackbone
from directanimator.model.cue_fusion import CUE_PARAMETERS
from directanimator.model.embedded import build_transformer
from directanimator.model.spec import ModelSpec


def add_low_rank(model: CueBackbone, rank: int, seed: int) -> None:
    """Nothing; freezes the base and lays an update of this rank, zero at first, over each linear layer of its blocks.

    What the model computes stays the same bit for bit; what is trained are the updates and the cue parameters.
    Source: LoRA (arXiv 2106.09685), alpha = rank. Deviation: the paper trains all of the blocks' weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=model.low_rank_layers))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name or any(part in name for part in CUE_PARAMETERS))


def merge_low_rank(model: CueBackbone) -> None:
    """Nothing; adds the updates, if there are any, to the weights under them. The layers are then plain ones again."""
    if any(isinstance(module, LowRankLinear) for module in model.modules()):
        model.fuse_lora()
        model.unload_lora()


def low_rank_parameters(spec: ModelSpec, rank: int) -> int:
    """How many numbers the updates of a model hold."""
    with torch.device("meta"):
        model = build_transformer(spec.model_copy(update={"num_layers": 1}))
    layers = [
        m for n, m in model.named_modules() if re.fullmatch(model.low_rank_layers, n) and isinstance(m, nn.Linear)
    ]
    return spec.num_layers * rank * sum(layer.in_features + layer.out_features for layer in layers)
