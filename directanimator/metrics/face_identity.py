"""Whether the face stays the right one: against the reference, against the truth, and from frame to frame."""

import math

import numpy as np
from jaxtyping import Bool, Float, Float64


def similarity(first: Float[np.ndarray, "f d"], second: Float[np.ndarray, "f d"]) -> Float64[np.ndarray, " f"]:
    """Cosine of each pair of embeddings, in [-1, 1], exactly 1 for equal ones; NaN where one of them is NaN."""
    gap = _unit_length(first) - _unit_length(second)
    return np.clip(1 - (gap**2).sum(axis=1) / 2, -1, 1)


def fis(generated: Float[np.ndarray, "f d"], right: Float[np.ndarray, "f d"], shown: Bool[np.ndarray, " f"]) -> float:
    """Face identity similarity: mean cosine with the right face over the frames that should show one, in [-1, 1].

    `right` is the true face of each frame, or the reference's face repeated. `shown` marks the frames in which the
    truth shows a face; where the generated frame has none there, the frame counts 0. NaN when no frame should show one.
    Source: DirectAnimator's appendix: mean cosine over corresponding pairs; which pair is not known, so both are named.
    """
    return _mean_where(similarity(generated, right), shown & np.isfinite(right).all(axis=1))


def fts(generated: Float[np.ndarray, "f d"], shown: Bool[np.ndarray, " f"]) -> float:
    """Face temporal similarity: mean cosine of adjacent generated frames, in [-1, 1].

    Over adjacent frames of which both should show a face; a pair counts 0 when the generated face is missing in one.
    NaN when there is no such pair.
    Source: DirectAnimator's appendix."""
    return _mean_where(similarity(generated[1:], generated[:-1]), shown[1:] & shown[:-1])


def face_recall(generated: Float[np.ndarray, "f d"], shown: Bool[np.ndarray, " f"]) -> float:
    """Share of the frames that should show a face in which one is found, in [0, 1]; NaN when none should."""
    found = np.isfinite(generated).all(axis=1)
    return float(found[shown].mean()) if shown.any() else math.nan


def _mean_where(values: Float64[np.ndarray, " n"], counted: Bool[np.ndarray, " n"]) -> float:
    if not counted.any():
        return math.nan
    return float(np.where(np.isnan(values), 0.0, values)[counted].mean())


def _unit_length(embeddings: Float[np.ndarray, "f d"]) -> Float64[np.ndarray, "f d"]:
    values = embeddings.astype(np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.maximum(length, np.finfo(np.float64).tiny)
