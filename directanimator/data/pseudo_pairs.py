"""Which pseudo clip drives which video of a folder: `pairs.json`, as `python -m directanimator.pseudo` leaves it.

A pseudo clip shows another person in the motion of a real video, so it is a cross-ID driver of it. The file may come
from anywhere: nothing outside its folder is read because of it, and every clip is known by its bytes."""

import functools
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from directanimator.digests import digest
from directanimator.errors import UserError
from directanimator.frozen import FrozenSpec

PAIRS_FILE = "pairs.json"
MOST_BYTES = 64 * 2**20
"""A larger file is refused unread: that would be a hundred thousand pairs and more."""


def _relative(text: str) -> str:
    """A printable path that leads down from where it starts, in its one spelling."""
    path = PurePosixPath(text)
    if not text.isprintable() or "\\" in text or path.is_absolute() or ".." in path.parts or str(path) != text:
        raise ValueError("want a plain relative path below the folder")
    return text


def _name(text: str) -> str:
    if text == "." or "/" in _relative(text):
        raise ValueError("want the name of a file, without a directory")
    return text


FileName = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_name)]
ClipPath = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"\.mp4$"), AfterValidator(_relative)]


def check_name(name: str) -> None:
    """Nothing, unless a video of this name cannot be written down in `pairs.json`.

    Raises: UserError, which names it."""
    try:
        TypeAdapter(FileName).validate_python(name)
    except ValidationError as error:
        raise UserError(f"the video {name!r} cannot be paired; rename it: {error.errors()[0]['msg']}") from error


class PseudoPair(FrozenSpec):
    """One pseudo clip and what it drives."""

    video: FileName
    """The real video whose motion the clip shows; it is what is to be made of the clip."""
    reference: FileName
    """The video whose person the clip shows."""
    clip: ClipPath
    """Where the pseudo clip lies, from the folder of `pairs.json`."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the pseudo clip's bytes."""

    @model_validator(mode="after")
    def _nobody_drives_himself(self) -> "PseudoPair":
        if self.video == self.reference:
            raise ValueError(f"{self.video} is paired with itself")
        return self


class PseudoPairs(FrozenSpec):
    """All of `pairs.json`."""

    format: Literal[1] = 1
    pairs: tuple[PseudoPair, ...]

    @model_validator(mode="after")
    def _each_pair_is_named_once(self) -> "PseudoPairs":
        for what in (lambda pair: f"{pair.video} with {pair.reference}", lambda pair: pair.clip):
            [(most, count)] = Counter(map(what, self.pairs)).most_common(1) or [("", 0)]
            if count > 1:
                raise ValueError(f"{most} is named {count} times")
        return self


@functools.lru_cache(maxsize=2)
def _read(path: Path, _mtime_ns: int, size: int) -> tuple[Mapping[str, tuple[PseudoPair, ...]], str]:
    if size > MOST_BYTES:
        raise UserError(f"{path}: {size} bytes are too many; want {MOST_BYTES} at most")
    content = path.read_bytes()
    try:
        found = PseudoPairs.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path}: {place}: {' '.join(first['msg'].split())}") from error
    by_video: dict[str, list[PseudoPair]] = defaultdict(list)
    for pair in found.pairs:
        by_video[pair.video].append(pair)
    return {video: tuple(pairs) for video, pairs in by_video.items()}, digest(content)


def _read_if_there(folder: Path) -> tuple[Mapping[str, tuple[PseudoPair, ...]], str] | None:
    path = folder / PAIRS_FILE
    try:
        found = path.stat()
        return _read(path, found.st_mtime_ns, found.st_size)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def pairs_by_video(folder: Path) -> Mapping[str, tuple[PseudoPair, ...]]:
    """The pairs of a folder by the name of the driven video; none where it holds no `pairs.json`.

    Raises: UserError if the file is there and cannot be believed."""
    found = _read_if_there(folder)
    return {} if found is None else found[0]


def pairs_digest(folder: Path) -> str | None:
    """12 hex digits that change with the pairs and with the bytes of their clips; None where there is no `pairs.json`.

    Raises: UserError if the file is there and cannot be believed."""
    found = _read_if_there(folder)
    return None if found is None else found[1]
