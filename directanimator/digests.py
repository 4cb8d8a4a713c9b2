"""Names of contents: so many hexadecimal digits of their sha256."""

import hashlib

SHORT = 12
"""Enough for all that lies beside each other in a directory: a million contents meet by chance once in 500 times."""


def digest(content: str | bytes, digits: int = SHORT) -> str:
    """The first hexadecimal digits of the sha256 of bytes, or of a text in UTF-8."""
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()[:digits]
