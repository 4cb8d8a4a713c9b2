"""Every sweep by name, and sweeps of one's own from JSON files."""

from pathlib import Path

from pydantic import ValidationError

from directanimator.errors import UserError, did_you_mean
from experiments.sweeps.space import Choice, Limit, Objective, Range, Sweep

SWEEPS: dict[str, Sweep] = {
    "same2x": Sweep(
        question="How strongly, and how deep, should the student be aligned to its teacher?",
        space={
            "same2x.weight": Range(low=0.0, high=2.0),
            "same2x.depth": Range(low=0.1, high=1.0),
        },
        objectives=(Objective(metric="cross/psnr_foreground", direction="maximize"),),
        pruner="hyperband",
    ),
    "softening": Sweep(
        question="How coarse should the location masks be?",
        space={"cues.location.soften_cells": Range(low=2, high="data.size", log=True)},
        objectives=(Objective(metric="cross/psnr_foreground", direction="maximize"),),
    ),
    "same2x_paired": Sweep(
        question="Which of the usual alignment weights is best, over paired seeds?",
        space={"same2x.weight": Choice(values=(0.0, 0.1, 0.25, 0.5, 1.0, 2.0))},
        objectives=(Objective(metric="cross/psnr_foreground", direction="maximize"),),
        pruner="wilcoxon",
        seeds=6,
    ),
    "optim": Sweep(
        question="How fast should the model learn, and how much faster its cue norms?",
        space={
            "optim.learning_rate": Range(low=1e-4, high=1e-2, log=True),
            "optim.cue_norm_rate_factor": Range(low=1.0, high=200.0, log=True),
        },
        objectives=(Objective(metric="cross/psnr_foreground", direction="maximize"),),
        pruner="hyperband",
    ),
    "quality_cost": Sweep(
        question="How much motion does a second of training buy, while the person stays who it is?",
        space={
            "same2x.enabled": Choice(values=(True, False)),
            "optim.global_batch_size": Choice(values=(2, 4, 8)),
            "cross_id.same_id_share": Range(low=0.0, high=1.0),
        },
        objectives=(
            Objective(metric="cross/motion", direction="maximize"),
            Objective(metric="seconds", direction="minimize"),
        ),
        constraints=(Limit(metric="cross/identity", at_least=0.9),),
    ),
}


def find_sweep(word: str) -> tuple[str, Sweep]:
    """Name and content of a registered sweep, or of the one in a file whose name ends in `.json`.

    Raises: UserError for an unknown name, or a file that holds no sweep."""
    if word in SWEEPS:
        return word, SWEEPS[word]
    if not word.endswith(".json"):
        known = ", ".join(SWEEPS)
        raise UserError(f"unknown sweep {word!r}: known are {known}, or a FILE.json{did_you_mean(word, SWEEPS)}")
    return Path(word).stem, _from_file(Path(word))


def _from_file(file: Path) -> Sweep:
    try:
        return Sweep.model_validate_json(file.read_bytes())
    except OSError as problem:
        raise UserError(f"sweep {file} cannot be read: {problem.strerror}") from problem
    except ValidationError as problem:
        fault = problem.errors(include_url=False)[0]
        where = "".join(f"{part}: " for part in [".".join(map(str, fault["loc"]))] if part)
        reason = "is not JSON" if fault["type"] == "json_invalid" else f"{where}{fault['msg']}"
        raise UserError(f"sweep {file}: {reason}") from problem
