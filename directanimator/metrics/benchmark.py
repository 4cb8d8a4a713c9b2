"""What the metrics themselves are worth, measured on synthetic humans; each command writes one report.

    python -m directanimator.metrics.benchmark ordering    which metric sees which degradation, and which is blind
    python -m directanimator.metrics.benchmark fvd_bias    Frechet distances between halves of one distribution
    python -m directanimator.metrics.benchmark faces       how well networks tell synthetic people apart
    python -m directanimator.metrics.benchmark speed       all metrics on 64 clips, without and with cached features

    output=DIR   where NAME.md goes; default: research/reports
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from directanimator.atomic import atomic_write
from directanimator.command import run_command
from directanimator.errors import UserError, did_you_mean
from directanimator.metrics.benchmarks.faces import measure_faces
from directanimator.metrics.benchmarks.ordering import measure_ordering
from directanimator.metrics.benchmarks.small_sample import measure_bias
from directanimator.metrics.benchmarks.speed import measure_speed
from directanimator.places import PROJECT
from directanimator.words import read_words

COMMANDS: Mapping[str, Callable[[], str]] = {
    "ordering": measure_ordering,
    "fvd_bias": measure_bias,
    "faces": measure_faces,
    "speed": measure_speed,
}
REPORT_NAMES = {
    "ordering": "metric_ordering",
    "fvd_bias": "fvd_bias",
    "faces": "synthetic_faces",
    "speed": "metric_speed",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 after one line on stderr."""
    return run_command(_command, arguments)


def _command(tokens: list[str]) -> int:
    if not tokens or "--help" in tokens:
        print(__doc__)
        return 0
    command, folder = _parsed(tokens)
    path = folder / f"{REPORT_NAMES[command]}.md"
    report = COMMANDS[command]()
    atomic_write(path, report.encode())
    print(report)
    print(f"written: {os.path.relpath(path)}")
    return 0


def _parsed(tokens: Sequence[str]) -> tuple[str, Path]:
    commands = [token for token in tokens if "=" not in token]
    words = read_words([token for token in tokens if "=" in token], ("output",))
    folder = Path(words["output"]) if "output" in words else PROJECT / "research" / "reports"
    if len(commands) != 1 or commands[0] not in COMMANDS:
        word = " ".join(commands)
        raise UserError(f"{word}: want one of {', '.join(COMMANDS)}{did_you_mean(word, COMMANDS)}")
    return commands[0], folder


if __name__ == "__main__":
    sys.exit(main())
