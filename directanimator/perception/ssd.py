"""Single-shot detection as MediaPipe's nets do it: anchors, decoding, blending of overlapping boxes. Plain NumPy.

Coordinates are shares of the net's square input, 0..1."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True)
class AnchorGrid:
    """Where a detector's anchors lie: for each (stride in pixels, anchors per cell), a grid over the input."""

    size: int
    layers: tuple[tuple[int, int], ...]

    @functools.cached_property
    def centers(self) -> Float32[np.ndarray, "n 2"]:
        """x, y of each anchor, row by row, in the order of the net's outputs. All anchors have the size 1.

        Source: MediaPipe, SsdAnchorsCalculator with fixed_anchor_size."""
        return np.concatenate([_cell_centers(self.size // stride, copies) for stride, copies in self.layers])


@dataclass(frozen=True)
class Detections:
    """Boxes x0, y0, x1, y1 with their key points and scores in [0, 1], best first."""

    boxes: Float32[np.ndarray, "n 4"]
    points: Float32[np.ndarray, "n p 2"]
    scores: Float32[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.scores)


def decode(
    raw: Float32[np.ndarray, "n c"], logits: Float32[np.ndarray, " n"], grid: AnchorGrid, threshold: float
) -> Detections:
    """The detections with a score of at least `threshold`, overlapping ones blended into one.

    `raw` holds, in input pixels relative to the anchor: center x, y, width, height, then x, y of each key point.

    Source: MediaPipe, TensorsToDetectionsCalculator and NonMaxSuppressionCalculator (weighted)."""
    scores = sigmoid(logits)
    kept = np.flatnonzero(scores >= threshold)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    pairs = (raw[kept] / grid.size).reshape(len(kept), raw.shape[1] // 2, 2)
    anchors = grid.centers[kept]
    middle, half, points = pairs[:, 0] + anchors, pairs[:, 1] / 2, pairs[:, 2:] + anchors[:, None]
    return blend(Detections(np.concatenate([middle - half, middle + half], axis=1), points, scores[kept]))


def blend(found: Detections, overlap: float = 0.3) -> Detections:
    """Non-maximum suppression that averages what it suppresses, weighted by score, into the best box of the group.

    Groups are formed greedily from the best box down, by an intersection over union above `overlap`."""
    groups: list[np.ndarray] = []
    left = np.arange(len(found))
    while len(left):
        near = intersection_over_union(found.boxes[left[0]], found.boxes[left]) > overlap
        near[0] = True
        groups.append(left[near])
        left = left[~near]
    return Detections(
        _group_means(found.boxes, found.scores, groups),
        _group_means(found.points, found.scores, groups),
        np.array([found.scores[group].max() for group in groups], np.float32),
    )


def intersection_over_union(
    box: Float32[np.ndarray, " 4"], boxes: Float32[np.ndarray, "n 4"]
) -> Float32[np.ndarray, " n"]:
    """Overlap of `box` with each of `boxes`, in [0, 1]; 0 for boxes without area."""
    shared = (np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])).clip(0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    union = (box[2:] - box[:2]).clip(0).prod() + areas - shared
    return np.asarray(shared / np.maximum(union, np.finfo(np.float32).tiny), np.float32)


def sigmoid(logits: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """The logistic function, in [0, 1], without overflow for large negative logits."""
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)), np.float32)


def _cell_centers(cells: int, copies: int) -> Float32[np.ndarray, "n 2"]:
    line = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    y, x = np.meshgrid(line, line, indexing="ij")
    return np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), copies, axis=0)


def _group_means(
    values: Float32[np.ndarray, "n ..."], scores: Float32[np.ndarray, " n"], groups: Sequence[np.ndarray]
) -> Float32[np.ndarray, "m ..."]:
    means = [np.average(values[group], axis=0, weights=scores[group]) for group in groups]
    return np.array(means, np.float32).reshape(len(groups), *values.shape[1:])
