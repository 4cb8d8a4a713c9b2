"""A pool is whole or absent, and the same whoever fills it."""

import functools
import multiprocessing
import os
import signal
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.data.pool import build_pool, chunks, open_pool

COUNT = 37


def made(index: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(index)
    return {"pixels": rng.integers(0, 256, (2, 3), np.uint8), "gate": rng.random(2) < 0.5, "number": np.array(index)}


def made_until(index: int, last: int) -> dict[str, np.ndarray]:
    if index > last:
        raise ArithmeticError(f"no item {index}")
    return made(index)


def killed_after(index: int, last: int) -> dict[str, np.ndarray]:
    if index > last and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return made(index)


def refuse(index: int) -> dict[str, np.ndarray]:
    raise AssertionError(f"item {index} was made again")


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_pool_holds_every_item_and_is_not_made_twice(tmp_path: Path) -> None:
    directory = tmp_path / "pool"
    build_pool(directory, COUNT, made, "making")
    found = open_pool(directory)
    assert set(found) == {"pixels", "gate", "number"}
    for index in range(COUNT):
        for name, value in made(index).items():
            np.testing.assert_array_equal(found[name][index], value)
            assert found[name][index].dtype == value.dtype
    build_pool(directory, COUNT, refuse, "making")


def test_one_worker_and_several_write_the_same_bytes(tmp_path: Path) -> None:
    for workers in (1, 3):
        build_pool(tmp_path / str(workers), COUNT, made, "making", workers, stride=workers)
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "3")


@given(st.integers(0, 200), st.integers(1, 250))
def test_every_item_is_in_one_chunk_beside_those_that_share_its_source(count: int, stride: int) -> None:
    found = chunks(count, stride)
    assert sorted(index for chunk in found for index in chunk) == list(range(count))
    assert all(len({index % stride for index in chunk}) == 1 for chunk in found)
    sources = [chunk[0] % stride for chunk in found]
    assert sources == sorted(sources)
    assert len(found) <= min(stride, count) + count // 16


@pytest.mark.parametrize("last", [-1, 20])
def test_a_failing_maker_leaves_nothing_and_its_error_is_told(tmp_path: Path, last: int) -> None:
    with pytest.raises(ArithmeticError, match="no item"):
        build_pool(tmp_path / "pool", COUNT, functools.partial(made_until, last=last), "making")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_worker_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BrokenProcessPool):
        build_pool(tmp_path / "pool", COUNT, functools.partial(killed_after, last=20), "making")
    assert list(tmp_path.iterdir()) == []


def test_a_pool_without_its_marker_is_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", np.zeros(3))
    with pytest.raises(FileNotFoundError):
        open_pool(tmp_path)


def test_an_unfinished_pool_is_thrown_away_and_made_again(tmp_path: Path) -> None:
    directory = tmp_path / "pool"
    directory.mkdir()
    np.save(directory / "stale.npy", np.zeros(3))
    build_pool(directory, 3, made, "making")
    assert set(open_pool(directory)) == {"pixels", "gate", "number"}


def test_an_open_pool_is_read_only(tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", np.zeros(3))
    (tmp_path / "pool.json").write_text("{}")
    rows: Any = open_pool(tmp_path)["pixels"]
    with pytest.raises(TypeError):
        rows[0] = 0
    rows[0][...] = 1
    assert rows[0] == 0


rows_on_disk = st.tuples(
    st.integers(1, 5),
    st.lists(st.integers(1, 3), max_size=3),
    st.sampled_from([np.uint8, np.float16, np.bool_, np.int64]),
    st.integers(0, 2**31),
)


@given(rows_on_disk, st.data())
def test_stored_rows_are_those_of_the_array(
    tmp_path_factory: pytest.TempPathFactory, made_of: tuple[int, list[int], type, int], data: st.DataObject
) -> None:
    count, shape, dtype, seed = made_of
    wanted = np.random.default_rng(seed).integers(0, 1000, (count, *shape)).astype(dtype)
    directory = tmp_path_factory.mktemp("pool")
    np.save(directory / "field.npy", wanted)
    (directory / "pool.json").write_text("{}")
    rows = open_pool(directory)["field"]
    assert len(rows) == count
    indices = st.integers(-count, count - 1)
    for index in (data.draw(indices), data.draw(st.lists(indices, min_size=1, max_size=4))):
        found = rows[index]
        np.testing.assert_array_equal(found, wanted[index])
        assert found.dtype == wanted.dtype
        assert found.flags.writeable  # or PyTorch would complain
    for beyond in (count, -count - 1):
        with pytest.raises(IndexError):
            rows[beyond]


def test_rows_of_a_file_that_was_cut_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "field.npy"
    np.save(path, np.zeros((3, 4)))
    (tmp_path / "pool.json").write_text("{}")
    rows = open_pool(tmp_path)["field"]
    os.truncate(path, path.stat().st_size - 8)
    rows[1]
    with pytest.raises(OSError, match="item 2 of 3"):
        rows[2]
