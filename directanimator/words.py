"""The `key=value` words of a command line, and what they spell."""

import math
from collections.abc import Collection, Iterable, Mapping

from directanimator.errors import UserError, did_you_mean


def read_words(tokens: Iterable[str], keys: Collection[str], shown: Collection[str] | None = None) -> dict[str, str]:
    """Values by key, as they were typed. `shown` names the legal keys to people where `keys` is too long to read.

    Raises: UserError for an unknown or repeated key, or one without a value."""
    words: dict[str, str] = {}
    for token in tokens:
        key, sign, text = token.partition("=")
        if key not in keys:
            raise UserError(f"unknown key {key!r}: known are {', '.join(shown or keys)}{did_you_mean(key, keys)}")
        if not sign or not text:
            raise UserError(f"{key} needs a value: {key}=...")
        if key in words:
            raise UserError(f"{key} is given twice: {words[key]} and {text}")
        words[key] = text
    return words


def own_words(tokens: Iterable[str], keys: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Values by key of the words that have one of these keys, and the other words as they are.

    Raises: UserError for a repeated key, or one without a value."""
    own: list[str] = []
    others: list[str] = []
    for token in tokens:
        (own if token.partition("=")[0] in keys else others).append(token)
    return read_words(own, keys), others


def check_options(tokens: Iterable[str], options: Collection[str]) -> None:
    """Nothing, when all words that begin with a dash are known.

    Raises: UserError otherwise."""
    for token in tokens:
        if token.startswith("-") and token not in options:
            raise UserError(f"unknown option {token!r}: known are {', '.join(options)}{did_you_mean(token, options)}")


def whole(words: Mapping[str, str], key: str, default: int, least: int, most: int) -> int:
    """The whole number of a key, least..most.

    Raises: UserError for anything else."""
    text = words.get(key, str(default))
    digits = text.lstrip("0") or "0"
    is_short = len(digits) <= len(str(most))  # Python reads no number of thousands of digits
    if not (text.isascii() and text.isdecimal() and is_short and least <= int(digits) <= most):
        raise UserError(f"{key}={text}: want a whole number {least}..{most}")
    return int(digits)


def real(words: Mapping[str, str], key: str, default: float, least: float, most: float) -> float:
    """The number of a key, least..most.

    Raises: UserError for anything else."""
    text = words.get(key, str(default))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise UserError(f"{key}={text}: want {least:g}..{most:g}")
    return value
