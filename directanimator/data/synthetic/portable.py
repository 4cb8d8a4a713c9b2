"""Products and sums that round alike on every processor.

BLAS chooses its kernels by the processor, and they round differently: one joint moves by the last bit, a pixel at its
edge by a level, and two machines no longer speak of the same pictures."""

import numpy as np
from jaxtyping import Float


def times(first: Float[np.ndarray, "*n 3 3"], second: Float[np.ndarray, "*m 3 3"]) -> Float[np.ndarray, "*k 3 3"]:
    """The products of stacked matrices."""
    return np.asarray(np.einsum("...ij,...jk->...ik", first, second))


def turned(rotations: Float[np.ndarray, "*n 3 3"], vector: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "*n 3"]:
    """A vector under every one of the rotations."""
    return np.asarray(np.einsum("...ij,j->...i", rotations, vector))


def weighted_sum(weights: Float[np.ndarray, " k"], values: Float[np.ndarray, "k *n"]) -> Float[np.ndarray, "*n"]:
    """The sum of the values, each times its weight."""
    return np.asarray(np.einsum("k,k...->...", weights, values))
