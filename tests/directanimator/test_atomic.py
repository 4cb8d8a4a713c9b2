"""Whoever is killed or refused while writing leaves what was there before."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from directanimator.atomic import atomic_directory, atomic_write, settle, write_json
from directanimator.errors import UserError
from tests.killed_writer import KINDS, killed_writer


def refuse(code: int):
    def write(draft: Path) -> None:
        draft.write_bytes(b"half")
        raise OSError(code, os.strerror(code))

    return write


def test_a_file_holds_what_was_written(tmp_path):
    @given(st.binary(max_size=100))
    def claim(content):
        atomic_write(tmp_path / "a" / "file.bin", content)
        assert (tmp_path / "a" / "file.bin").read_bytes() == content

    claim()


def test_a_callable_sees_the_file_name_of_the_target(tmp_path):
    names = []
    atomic_write(tmp_path / "clip.mp4", lambda draft: names.append(draft.name) or draft.write_bytes(b"x"))
    assert names == ["clip.mp4"]


@pytest.mark.parametrize("problem", [RuntimeError("no"), KeyboardInterrupt()])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, problem):
    def write(draft: Path) -> None:
        draft.write_bytes(b"half")
        raise problem

    atomic_write(tmp_path / "f", b"old")
    with pytest.raises(type(problem)):
        atomic_write(tmp_path / "f", write)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("f", b"old")]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_refusing_disk_is_one_line_and_leaves_the_old_file(tmp_path, code):
    atomic_write(tmp_path / "f", b"old")
    with pytest.raises(UserError, match=os.strerror(code)) as caught:
        atomic_write(tmp_path / "f", refuse(code))
    assert "\n" not in str(caught.value)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("f", b"old")]


def test_a_disk_that_fills_up_under_safetensors_is_one_line(tmp_path):
    def write(draft: Path) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with pytest.raises(UserError, match="No space left"):
        atomic_write(tmp_path / "f", write)


def test_a_missing_input_of_the_callable_is_not_blamed_on_the_target(tmp_path):
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "f", refuse(errno.ENOENT))


def test_a_target_below_a_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(UserError, match="cannot write"):
        atomic_write(tmp_path / "f" / "g", b"new")


def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    atomic_write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path, kind):
    killed_writer(kind, tmp_path / "t")
    atomic_write(tmp_path / "t", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def test_a_writer_at_work_is_not_taken_for_a_killed_one(tmp_path):
    with atomic_directory(tmp_path / "t") as draft:
        settle(tmp_path / "t")
        assert draft.is_dir()


def test_a_directory_replaces_the_older_one_whole(tmp_path):
    for name in ("a", "b"):
        with atomic_directory(tmp_path / "t") as draft:
            (draft / name).write_bytes(b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["t"]
    assert [p.name for p in (tmp_path / "t").iterdir()] == ["b"]


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_directory_that_another_writer_has_made_meanwhile_stays_if_it_is_to_be_kept(tmp_path, is_kept):
    with atomic_directory(tmp_path / "t", lambda: is_kept) as late:
        (late / "late").write_bytes(b"x")
        with atomic_directory(tmp_path / "t") as early:
            (early / "early").write_bytes(b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["t"]
    assert [p.name for p in (tmp_path / "t").iterdir()] == ["early" if is_kept else "late"]


def test_writers_of_one_directory_at_once_leave_that_of_one(tmp_path):
    ready = threading.Barrier(4)

    def write(name: str) -> None:
        with atomic_directory(tmp_path / "t") as draft:
            (draft / name).write_bytes(b"x")
            ready.wait(timeout=30)

    with ThreadPoolExecutor(4) as threads:
        for _ in range(25):
            list(threads.map(write, "abcd"))
            assert [p.name for p in tmp_path.iterdir()] == ["t"]
            assert len(list((tmp_path / "t").iterdir())) == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.ENOENT])
def test_a_failing_block_leaves_the_old_directory(tmp_path, code):
    with atomic_directory(tmp_path / "t") as draft:
        (draft / "a").write_bytes(b"old")
    with pytest.raises((UserError, OSError)), atomic_directory(tmp_path / "t") as draft:  # noqa: PT012
        (draft / "a").write_bytes(b"half")
        raise OSError(code, "no")
    assert [p.name for p in tmp_path.iterdir()] == ["t"]
    assert (tmp_path / "t" / "a").read_bytes() == b"old"


def test_a_directory_that_a_killed_writer_moved_aside_comes_back(tmp_path):
    killed_writer("directory", tmp_path / "t")
    (leftover,) = tmp_path.iterdir()
    (leftover / "old").mkdir()
    (leftover / "old" / "a").write_bytes(b"old")
    settle(tmp_path / "t")
    assert [p.name for p in tmp_path.iterdir()] == ["t"]
    assert (tmp_path / "t" / "a").read_bytes() == b"old"


def test_json_refuses_what_json_cannot_say(tmp_path):
    with pytest.raises(UserError, match=r"x\.json"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []
