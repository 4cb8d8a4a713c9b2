"""What changes from frame to frame that should not."""

import numpy as np
from jaxtyping import Real

from directanimator.metrics.frames import WHITE, checked_pair


def flicker(generated: Real[np.ndarray, "f h w 3"], target: Real[np.ndarray, "f h w 3"]) -> float:
    """Mean absolute difference of generated and true frame differences, as a share of white, in [0, 2]; 0 is best.

    Sees noise, jumps and wrong order; blind to an error that stays the same in all frames. NaN for one frame.
    Raises: ValueError if the shapes differ or a frame is not finite.
    Deviation: ours. Without a truth, flicker cannot be told from motion."""
    first, second = checked_pair(generated, target)
    if len(first) < 2:
        return float("nan")
    return float(np.abs(np.diff(first - second, axis=0)).mean()) / WHITE
