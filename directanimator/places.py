"""Where things lie on this machine: no part of an experiment's identity, and independent of the working directory."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
RUNS_VARIABLE = "DIRECTANIMATOR_RUNS"
ASSETS_VARIABLE = "DIRECTANIMATOR_ASSETS"
FEATURES_VARIABLE = "DIRECTANIMATOR_FEATURES"
CUES_VARIABLE = "DIRECTANIMATOR_CUES"
WEIGHTS_VARIABLE = "DIRECTANIMATOR_WEIGHTS"


def _chosen(variable: str, default: Path) -> Path:
    chosen = os.environ.get(variable)
    return Path(chosen).expanduser().absolute() if chosen else default


def mlruns_root() -> Path:
    """The absolute directory of everything that runs leave: $DIRECTANIMATOR_RUNS, else `mlruns` in the project.

    Never depends on the working directory, unless the variable itself is relative."""
    return _chosen(RUNS_VARIABLE, PROJECT / "mlruns")


def runs_root() -> Path:
    """The absolute directory that holds one directory per run."""
    return mlruns_root() / "runs"


def assets_root() -> Path:
    """The absolute directory of fetched weights and clips: $DIRECTANIMATOR_ASSETS, else `.cache/assets`."""
    return _chosen(ASSETS_VARIABLE, PROJECT / ".cache" / "assets")


def features_root() -> Path:
    """The absolute directory of cached features of clips: $DIRECTANIMATOR_FEATURES, else `.cache/features`."""
    return _chosen(FEATURES_VARIABLE, PROJECT / ".cache" / "features")


def cues_root() -> Path:
    """The absolute directory of extracted cues: $DIRECTANIMATOR_CUES, else `.cache/cues`."""
    return _chosen(CUES_VARIABLE, PROJECT / ".cache" / "cues")


def weights_root() -> Path:
    """The absolute directory of weight files that people put there: $DIRECTANIMATOR_WEIGHTS, else `.cache/weights`."""
    return _chosen(WEIGHTS_VARIABLE, PROJECT / ".cache" / "weights")


def pretraining_root() -> Path:
    """The absolute directory of what making the embedded base leaves."""
    return PROJECT / ".cache" / "pretrain"


def as_variables() -> dict[str, str]:
    """The variables by which a process elsewhere finds the same places."""
    return {
        RUNS_VARIABLE: str(mlruns_root()),
        ASSETS_VARIABLE: str(assets_root()),
        FEATURES_VARIABLE: str(features_root()),
        CUES_VARIABLE: str(cues_root()),
        WEIGHTS_VARIABLE: str(weights_root()),
    }
