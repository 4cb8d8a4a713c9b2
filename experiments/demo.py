"""`make demo`: the full method and the method without its face cue, trained, evaluated and compared on this machine."""

import time
from collections.abc import Sequence
from pathlib import Path

from directanimator.atomic import atomic_write
from directanimator.errors import UserError
from directanimator.places import mlruns_root
from experiments.command_line import resolve, run_main
from experiments.evaluation.comparison import render_comparison, render_markdown
from experiments.evaluation.evaluate import read_evaluation
from experiments.experiment import run_experiment
from experiments.record import RunDirectory
from experiments.stage import InterruptedTrainingError

VARIANTS = ("no_face_cue", "full")
"""In the order of training: the last one is what `animate` takes when no checkpoint is named."""


def main(tokens: Sequence[str]) -> int:
    """Exit status. `preset=NAME` and edits of the spec may be given, and go to every variant.

    Raises: UserError for bad input."""
    if "--help" in tokens:
        print(__doc__)
        return 0
    if any(token.startswith("ablation=") for token in tokens):
        raise UserError(f"the demo chooses its ablations itself ({', '.join(VARIANTS)}); leave out ablation=")
    started = time.monotonic()
    runs: dict[str, RunDirectory] = {}
    for number, name in enumerate(VARIANTS, start=1):
        resolved = resolve([*tokens, f"ablation={name}"], options=("--debug", "--help"))
        say(f"[{number}/{len(VARIANTS)}] {name}: {resolved.ablation.question or 'the full method'}")
        try:
            runs[name] = run_experiment(resolved.spec, {"preset": resolved.preset.name, "ablation": name})
        except InterruptedTrainingError as stop:
            say(str(stop))
            return stop.exit_status
    show(runs, time.monotonic() - started)
    return 0


def show(runs: dict[str, RunDirectory], seconds: float) -> None:
    """Nothing; prints the comparison and where everything lies, and writes the comparison beside the runs."""
    evaluations = {name: [read_evaluation(runs[name])] for name in reversed(runs)}
    table: Path = mlruns_root() / "demo.md"
    atomic_write(table, render_markdown(evaluations).encode())
    say(render_comparison(evaluations))
    for name, run in runs.items():
        for sheet in sorted(run.media.rglob("*_sheet.png")):
            say(f"{name:12} {sheet}")
    say(f"table        {table}\ntook         {seconds / 60:.1f} minutes")
    say("browse       python -m experiments.ui   (every run, curve, video and model in MLflow)")


def say(text: str) -> None:
    """Nothing; prints at once, so that a watched log keeps up."""
    print(text, flush=True)


if __name__ == "__main__":
    run_main(main)
