"""The one error that is meant for the person at the keyboard."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A request that cannot be met, said in one line: what, where, the legal values, the nearest name."""


def did_you_mean(name: str, legal: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest legal name, or an empty string when none is near."""
    nearest = difflib.get_close_matches(name, list(legal), n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
