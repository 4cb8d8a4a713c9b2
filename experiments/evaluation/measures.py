"""The metrics of the field on a run's test clips, beside the scores by ground truth.

What needs no network is always measured; of the networks, those that the spec names, and only for the student."""

import importlib.util
import math
from collections.abc import Mapping, Sequence
from typing import Any

from directanimator.assets import is_fetched
from directanimator.errors import UserError
from directanimator.metrics.catalog import BY_NAME, METRICS, ClipMetric, Role, SetMetric, networks_of
from directanimator.metrics.clip_folder import Clip
from directanimator.metrics.feature_cache import FeatureCache
from directanimator.metrics.features import EXTRACTORS, with_needed
from directanimator.metrics.measurement import Measurement, measure_clips
from directanimator.metrics.spec import NetworkName
from directanimator.places import features_root
from experiments.spec import ExperimentSpec, Stage

KNOWN_BETTER = ("psnr", "ssim")
"""Metrics of the catalog that are among the scores by ground truth."""
ONLY_TO_READ = ("psnr_disco",)
"""Metrics that are wrong, kept for old tables."""
BIAS = "_bias"
"""Ending of the name under which the small-sample bias of a distance stands beside it."""


def networks_for(spec: ExperimentSpec, stage: Stage) -> tuple[NetworkName, ...]:
    """The networks that judge the clips of a stage.

    None in the same-ID stage: variants that ask for different networks share its run."""
    return spec.evaluation.networks or () if stage == "cross_id" else ()


def check_networks(networks: Sequence[NetworkName]) -> None:
    """Nothing, if all weights that the networks need are there.

    Raises: UserError in one line that names what is missing and how to get it."""
    for file in (file for network in with_needed(networks) for file in EXTRACTORS[network].files):
        file.path()
    needed = [name for network in with_needed(networks) for name in EXTRACTORS[network].assets]
    missing = [name for name in needed if not is_fetched(name)]
    if missing:
        raise UserError(
            f"evaluation.networks={','.join(networks)}: {', '.join(missing)} not fetched; "
            f"get {'it' if len(missing) == 1 else 'them'} with: "
            f"python -m directanimator.assets fetch {' '.join(missing)}"
        )
    if "person" in with_needed(networks) and importlib.util.find_spec("ai_edge_litert") is None:
        raise UserError(
            f"evaluation.networks={','.join(networks)}: needs the package ai-edge-litert; "
            "get it with: pip install 'directanimator[demo]'"
        )


def metrics_for(networks: Sequence[NetworkName]) -> list[ClipMetric | SetMetric]:
    """The metrics that the networks allow, in the catalog's order, without those that ground truth answers better."""
    there = set(with_needed(networks))
    left_out = (*KNOWN_BETTER, *ONLY_TO_READ)
    return [metric for metric in METRICS if there.issuperset(networks_of(metric)) and metric.name not in left_out]


def measured(clips: Mapping[str, Mapping[Role, Clip]], networks: Sequence[NetworkName]) -> Measurement:
    """The metrics of the clips, by name; features of targets and references are made once for all variants and seeds.

    Raises: UserError if the cache of features cannot be written."""
    return measure_clips(clips, metrics_for(networks), cache=FeatureCache(features_root()))


def means(measurement: Measurement) -> dict[str, float]:
    """Every value by the metric's name, and beside each biased distance its small-sample bias, NaN where unknown."""
    found: dict[str, float] = {}
    for result in measurement.results:
        found[result.metric.name] = result.value
        if isinstance(result.metric, SetMetric) and result.metric.biased:
            found[result.metric.name + BIAS] = math.nan if result.bias is None else result.bias
    return found


# ---------------------------------------------------------------- for a terminal

HEADINGS = ("", "better", "value [95 % interval]", "small-sample bias", "N", "no value", "protocol")
NOTHING = "-"


def render_measures(evaluation: Mapping[str, object]) -> str:
    """The table of what was measured, as evaluation.json says it; empty if that is of before it was."""
    subsets = evaluation.get("measured")
    if not isinstance(subsets, Mapping):
        return ""
    rows = [
        _row(f"{subset}/{entry['metric']}", entry, len(found["clips"]))
        for subset, found in subsets.items()
        for entry in found["metrics"]
    ]
    widths = [max(len(row[column]) for row in (HEADINGS, *rows)) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in (HEADINGS, *rows)]  # fmt: skip
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]]) + "\n"


def _row(name: str, entry: Mapping[str, Any], clips: int) -> tuple[str, ...]:
    known = BY_NAME.get(entry["metric"])
    decimals = known.decimals if known else 4
    value = _number(entry["value"], decimals)
    if entry["low"] is not None and entry["high"] is not None:
        value += f" [{_number(entry['low'], decimals)}, {_number(entry['high'], decimals)}]"
    protocol = entry["protocol"]
    items = "" if protocol["items"] == protocol["clips"] else f" ({protocol['items']})"
    bias = _number(entry["small_sample_bias"], decimals)
    missing = str(clips - protocol["clips"])
    return name, entry["better"], value, bias, f"{protocol['clips']}{items}", missing, entry["protocol_id"]


def _number(value: float | None, decimals: int) -> str:
    return NOTHING if value is None else f"{value:.{decimals}f}"
