"""How much of a Frechet distance is the size of the sets."""

from collections.abc import Mapping

import numpy as np

from directanimator.data.spec import DataSpec
from directanimator.data.synthetic import SYNTH_VERSION
from directanimator.data.synthetic_items import synthetic_pixels
from directanimator.markdown import table_lines
from directanimator.metrics.feature_cache import FeatureCache
from directanimator.metrics.features import EXTRACTORS, Networks
from directanimator.metrics.frechet import frechet_distance, small_sample_bias
from directanimator.metrics.kernel_distance import kernel_distance
from directanimator.places import features_root
from directanimator.progress import progress

BIAS_SIZES = (10, 30, 100, 300)
BIAS_SPEC = DataSpec(size=128, latent_frames=5, fps=8.0)
BIAS_FRAMES = 16


def bias_features(count: int) -> dict[str, np.ndarray]:
    """I3D's features of training clips 0 .. count-1, one row per clip; kept in the cache of features."""
    networks, cache = Networks(), FeatureCache(features_root())
    rows = [_bias_row(index, networks, cache) for index in progress(range(count), "clips", total=count)]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _bias_row(index: int, networks: Networks, cache: FeatureCache) -> Mapping[str, np.ndarray]:
    i3d = EXTRACTORS["i3d"]

    def make() -> Mapping[str, np.ndarray]:
        frames = synthetic_pixels("train", index, BIAS_SPEC)["target"][:BIAS_FRAMES]
        return i3d.make(networks, frames, {}, BIAS_FRAMES)

    return cache.get(bias_source(index), make)


def bias_source(index: int) -> dict[str, str]:
    """What the features of a training clip depend on."""
    i3d = EXTRACTORS["i3d"]
    clip = f"synthetic {SYNTH_VERSION} train {index} {BIAS_SPEC.size} px {BIAS_FRAMES} frames {BIAS_SPEC.fps:g} fps"
    return {"clip": clip, "network": f"{i3d.name} {i3d.version}", "weights": i3d.weights}


def bias_report(features: Mapping[str, np.ndarray]) -> str:
    """Distances between disjoint sets of N clips of one distribution, and what one set estimates, as Markdown."""
    rows = [row for count in BIAS_SIZES for row in _bias_rows(features, count)]
    headings = ["features", "N", "pairs", "distance", "range", "estimated from one set", "unbiased kernel distance"]
    total = len(features["i3d.logits"])
    lines = [
        "# How much of an FVD is the size of the sets",
        "",
        f"`python -m directanimator.metrics.benchmark fvd_bias`: {total} synthetic "
        f"training clips of {BIAS_FRAMES} frames "
        f"of {BIAS_SPEC.size} px, split into disjoint pairs of sets. Both sets of a pair "
        f"come from one distribution: the "
        "true distance is 0.",
        "",
        *table_lines(headings, rows),
        "",
        "*Distance*: mean over pairs. *Estimated from one set*: `small_sample_bias` of "
        "the first set of each pair, mean; "
        "it is what the report of `python -m directanimator.metrics` prints beside a distance.",
        "",
        "Levels at different N cannot be compared. Between independent sets a distance near the one of its own N says "
        "nothing; answers to the very clips that they are compared with share their chance, and equal sets are at 0.",
    ]
    return "\n".join(lines) + "\n"


def _bias_rows(features: Mapping[str, np.ndarray], count: int) -> list[list[str]]:
    rows = []
    for name, title in (("i3d.logits", "`fvd`, logits (400)"), ("i3d.pooled", "`fid_vid_i3d`, pooled (1024)")):
        vectors = features[name]
        half = len(vectors) // 2
        starts = range(0, half - count + 1, count)
        pairs = [(vectors[start:][:count], vectors[half + start :][:count]) for start in starts]
        if not pairs:
            continue
        distances = [frechet_distance(first, second) for first, second in pairs]
        clips = [[np.split(vectors, len(vectors)) for vectors in pair] for pair in pairs]
        estimates = [small_sample_bias(first) for first, _ in clips]
        kernel = [kernel_distance(first, second, paired=False) for first, second in clips]
        digits = 1 if max(distances) > 50 else 3
        spread = f"{min(distances):.{digits}f} to {max(distances):.{digits}f}"
        rows.append(
            [title, str(count), str(len(pairs)), f"{np.mean(distances):.{digits}f}", spread,
             f"{np.mean(estimates):.{digits}f}", f"{np.mean(kernel):+.3f} (sd {np.std(kernel):.3f})"]
        )  # fmt: skip
    return rows


def measure_bias() -> str:
    """The report over as many clips as its largest pair of sets takes."""
    return bias_report(bias_features(2 * BIAS_SIZES[-1]))
