"""How a training is carried out on its devices: no part of the experiment; it changes numbers by rounding alone."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from directanimator.errors import UserError
from directanimator.words import own_words

EXECUTION_WORDS = ("micro_batch", "checkpointing", "sharding")
EXECUTION_USAGE = "[micro_batch=N] [checkpointing=true] [sharding=true]"
_DIGITS = 9
"""Of the greatest number of clips; Python reads none of thousands of digits."""
_YES_NO = {"true": True, "false": False}


@dataclass(frozen=True)
class Execution:
    """Where memory is spared for time."""

    micro_batch: int | None = None
    """Clips of a forward pass on one device; its share of the global batch is accumulated over several. None: all."""
    checkpointing: bool = False
    """Whether activations are computed again in the backward pass instead of kept."""
    sharding: bool = False
    """Whether each process holds only its share of weights, gradients, moments, average and teacher (FSDP2)."""


PLAIN = Execution()
"""Everything at once, nothing twice."""


def started_processes() -> int:
    """How many processes a launcher such as torchrun started together with this one; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this process speaks for all that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def read_execution(tokens: Sequence[str]) -> tuple[Execution, list[str]]:
    """The execution that the words `micro_batch=N`, `checkpointing=true` and `sharding=true` ask for, and the others.

    Raises: UserError for an illegal value, or a word that is given twice."""
    words, rest = own_words(tokens, EXECUTION_WORDS)
    return Execution(_clips(words), _switched(words, "checkpointing"), _switched(words, "sharding")), rest


def _clips(words: Mapping[str, str]) -> int | None:
    text = words.get("micro_batch")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text.lstrip("0")) in range(1, _DIGITS + 1)):
        raise UserError(f"micro_batch={text}: want a whole number of clips, 1 or more")
    return int(text)


def _switched(words: Mapping[str, str], key: str) -> bool:
    text = words.get(key, "false")
    if text not in _YES_NO:
        raise UserError(f"{key}={text}: want true or false")
    return _YES_NO[text]


def check_batch(global_batch_size: int, processes: int) -> None:
    """Nothing; refuses a batch of which processes would have unequal shares.

    Raises: UserError."""
    if global_batch_size % processes:
        raise UserError(f"optim.global_batch_size={global_batch_size} does not divide over {processes} processes")


def check_execution(execution: Execution, global_batch_size: int, processes: int) -> None:
    """Nothing; refuses parts that do not add up to a process's share of the batch, and shards of one process.

    Raises: UserError."""
    if execution.sharding and processes == 1:
        raise UserError("sharding=true: one process has nobody to share with; start several by torchrun")
    share = global_batch_size // processes
    if execution.micro_batch is not None and share % execution.micro_batch:
        raise UserError(
            f"micro_batch={execution.micro_batch} does not divide the {share} clips of each process "
            f"(optim.global_batch_size={global_batch_size} over {processes})"
        )
