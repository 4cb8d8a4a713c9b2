"""How much sooner one training reaches another's final loss, on held-out clips with fixed noise and timesteps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.tables.statistics import Effect, interval

FINAL_POINTS = 3
"""Points at a curve's end whose mean is its final loss: one alone would be luck."""


@dataclass(frozen=True)
class Curve:
    """A loss by optimizer steps done; steps rise."""

    steps: tuple[int, ...]
    losses: tuple[float, ...]

    @property
    def final(self) -> float:
        """The mean of the last three points, or of as many as there are."""
        last = self.losses[-FINAL_POINTS:]
        return math.fsum(last) / len(last)


@dataclass(frozen=True)
class SpeedUp:
    """Steps of the slow training over the steps after which the fast one is where that ends."""

    variant: str
    against: str
    by_seed: tuple[float | None, ...]
    """None where the variant never gets there."""
    at_most: tuple[float, ...]
    """The same; where the variant never gets there, what it would be if it did at its very last step."""

    @property
    def mean(self) -> float | None:
        """Geometric mean over seeds; None if one does not get there."""
        effect = self._logarithms()
        return None if effect is None else math.exp(effect.difference)

    @property
    def most(self) -> float:
        """What the geometric mean cannot exceed, also where seeds do not get there; NaN if no seed tells."""
        if not self.at_most:
            return math.nan
        return math.exp(math.fsum(map(math.log, self.at_most)) / len(self.at_most))

    @property
    def interval(self) -> tuple[float, float] | None:
        """Ends of the interval of the mean; None without a spread of seeds, or if a seed does not get there."""
        effect = self._logarithms()
        if effect is None or math.isnan(effect.standard_error):
            return None
        low, high = interval(effect)
        return math.exp(low), math.exp(high)

    def _logarithms(self) -> Effect | None:
        reached = [math.log(value) for value in self.by_seed if value is not None]
        if not reached or len(reached) < len(self.by_seed):
            return None
        return Effect(tuple(reached), tuple(range(len(reached))), len(reached))


def steps_to_reach(curve: Curve, loss: float) -> float | None:
    """Steps after which the curve is first at `loss` or below, between points on the line; None if it never is."""
    for index, (step, value) in enumerate(zip(curve.steps, curve.losses, strict=True)):
        if value <= loss:
            if index == 0:
                return float(step)
            before, higher = curve.steps[index - 1], curve.losses[index - 1]
            return before + (step - before) * (higher - loss) / (higher - value)
    return None


def speed_up(variant: str, against: str, curves: Sequence[tuple[Curve, Curve]]) -> SpeedUp:
    """How much sooner the variant is there; `curves` holds for each seed the variant's and the other's.

    The other's own time to its final loss is taken, not its last step: a curve that is flat at the end has long been
    there. Source: Beyond Skeletons claims 6.7 from training losses. Deviation: held-out loss on fixed noise."""
    ratios: list[float | None] = []
    bounds: list[float] = []
    for fast, slow in curves:
        there, whole = steps_to_reach(fast, slow.final), steps_to_reach(slow, slow.final)
        if whole is None:  # of its last points one is at their mean or below, unless they are no numbers
            continue
        ratios.append(None if there is None else whole / there)
        bounds.append(whole / (there or fast.steps[-1]))
    return SpeedUp(variant, against, tuple(ratios), tuple(bounds))
