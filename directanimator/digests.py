"""Names of contents, and of files by their content: so many hexadecimal digits of their sha256."""

import functools
import hashlib
from pathlib import Path

from directanimator.errors import UserError

SHORT = 12
"""Enough for all that lies beside each other in a directory: a million contents meet by chance once in 500 times."""


def digest(content: str | bytes, digits: int = SHORT) -> str:
    """The first hexadecimal digits of the sha256 of bytes, or of a text in UTF-8."""
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()[:digits]


def digest_of_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex digits.

    Raises: UserError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def known_digest(path: Path) -> str:
    """As `digest_of_file`, read once in a process while the file's time and size stay as they are.

    Raises: UserError if it cannot be read."""
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    return _digest_as_of(path, found.st_mtime_ns, found.st_size)


@functools.cache
def _digest_as_of(path: Path, _mtime_ns: int, _size: int) -> str:
    return digest_of_file(path)
