"""The frame of every command: what became of it, as an exit status and a line for the person who typed it."""

import sys
import traceback
from collections.abc import Callable, Sequence

from directanimator.errors import UserError

BAD_INPUT, INTERRUPTED = 2, 130
DEBUG = "--debug"
"""The option of every command that shows where an error came from."""


def run_command(
    command: Callable[[list[str]], int], tokens: Sequence[str] | None = None, interrupted: str = "interrupted"
) -> int:
    """The exit status: the command's own, 2 after a UserError, 130 after Ctrl-C. Errors are one line on stderr.

    `tokens` are the process's arguments if None is given; the command gets them without `--debug`. `interrupted` tells
    what an interruption leaves. Any other exception is a defect, and goes on."""
    given = list(sys.argv[1:] if tokens is None else tokens)
    try:
        return command([token for token in given if token != DEBUG])
    except UserError as error:
        if DEBUG in given:
            traceback.print_exc()
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED
