"""The precision that a device computes in: what a spec asks for, where the device multiplies in it."""

import functools
from typing import Literal

import torch

from directanimator.model.spec import Precision


def device_kind() -> Literal["cuda", "cpu"]:
    """The kind of device that models run on here."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@functools.cache
def multiplies_in_bf16(device: str) -> bool:
    """Whether a kind of device multiplies numbers in bf16 at all.

    A CPU that does not is not slower in it, but hundreds of times slower: every product is made in a plain loop."""
    if device != "cpu":
        return True
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def precision_on(device: str, wanted: Precision) -> Precision:
    """The precision that a kind of device computes in: fp32 in place of a bf16 that it does not multiply in.

    Deviation: the paper trains in bf16; what fp32 gives instead differs by rounding alone."""
    return wanted if wanted == "fp32" or multiplies_in_bf16(device) else "fp32"


def autocast(device: str, wanted: Precision, keeps_casts: bool = True) -> torch.autocast:
    """A block in which products are made in that precision; `keeps_casts`: of weights, each cast once."""
    enabled = precision_on(device, wanted) == "bf16"
    return torch.autocast(device, torch.bfloat16, enabled=enabled, cache_enabled=keeps_casts)
