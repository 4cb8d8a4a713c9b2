"""Files are known by what they hold, also where they are not read again."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.digests import SHORT, digest, digest_of_file, known_digest
from directanimator.errors import UserError


@given(st.text(), st.integers(1, 64))
def test_a_text_and_its_bytes_have_one_name(text: str, digits: int) -> None:
    assert digest(text, digits) == digest(text.encode(), digits) == hashlib.sha256(text.encode()).hexdigest()[:digits]
    assert len(digest(text)) == SHORT


@given(contents=st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_a_file_has_the_name_of_what_it_holds_now(
    contents: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("digests") / "video.mp4"
    for second, content in enumerate(contents):
        file.write_bytes(content)
        os.utime(file, (second, second))
        assert digest_of_file(file) == known_digest(file) == digest(content, 64)


def test_a_file_is_read_once_while_its_time_and_size_stay(tmp_path: Path) -> None:
    file = tmp_path / "base.safetensors"
    file.write_bytes(b"one")
    os.utime(file, (7, 7))
    before = known_digest(file)
    file.write_bytes(b"two")
    os.utime(file, (7, 7))
    assert known_digest(file) == before != digest_of_file(file)


@pytest.mark.parametrize("name_it", [digest_of_file, known_digest])
def test_what_cannot_be_read_is_said(tmp_path: Path, name_it) -> None:
    with pytest.raises(UserError, match=r"missing\.png: cannot be read: No such file"):
        name_it(tmp_path / "missing.png")
