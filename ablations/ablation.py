"""What an ablation is. Data only: no behaviour, and no knowledge of the specs that it edits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Value = None | bool | int | float | str


@dataclass(frozen=True)
class Expectation:
    """The effect, against the full method on the same seeds, that would answer the question with yes."""

    metric: str
    """Subset and measure, such as `cross/motion`."""
    direction: Literal["lower", "higher"]
    """Where the metric goes when the edit is made."""
    at_least: float
    """Smallest difference that counts, in the metric's unit."""


@dataclass(frozen=True)
class Published:
    """What the paper reports for the same change, on its own data."""

    table: str
    row: str
    values: Mapping[str, float] = field(hash=False)
    note: str = ""


@dataclass(frozen=True)
class Ablation:
    """A named edit of a spec that asks one question."""

    name: str
    question: str
    edits: Mapping[str, Value] = field(hash=False)
    expects: Expectation | None = None
    """None only for the full method, which has nothing to be compared with."""
    source: Published | None = None
    """None when the paper has no such row."""
    needs_synthetic: bool = False
    """Whether it asks for what is known of synthetic humans alone, and is refused with real videos."""


@dataclass(frozen=True)
class Table:
    """Variants that are answered together: each against the full method, the error of all bounded as one."""

    name: str
    question: str
    variants: tuple[str, ...]
    """Names of ablations, the full method left out."""
    convergence: tuple[tuple[str, str], ...] = ()
    """Pairs of which the first is said to reach, in fewer steps, the second's final loss."""
