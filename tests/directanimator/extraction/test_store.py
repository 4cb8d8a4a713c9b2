"""The store: an entry is whole or not there, damage is found, what is old makes room."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator import atomic
from directanimator.errors import UserError
from directanimator.extraction.command import main
from directanimator.extraction.recorded import FRAME_ARRAYS
from directanimator.extraction.store import SHARD_FRAMES, Store, key_of


def fill(store: Store, key: str, num_frames: int, value: int = 7) -> None:
    with store.writer("pose", key, FRAME_ARRAYS) as writer:
        for k in range(num_frames):
            writer.append({"x": np.full((4, 4), value + k, np.int32)})
        writer.notes["said"] = key


@given(st.integers(0, 3 * SHARD_FRAMES))
def test_what_was_appended_comes_back_in_order(tmp_path_factory, num_frames):
    store = Store(tmp_path_factory.mktemp("store"))
    fill(store, "k", num_frames)
    entry = store.entry("pose", "k")
    assert entry.num_frames == num_frames
    assert entry.notes == {"said": "k"}
    assert [int(frame["x"][0, 0]) for frame in entry.items(FRAME_ARRAYS)] == list(range(7, 7 + num_frames))


def test_an_interrupted_writer_leaves_nothing(tmp_path):
    store = Store(tmp_path)

    def interrupted() -> None:
        with store.writer("pose", "k", FRAME_ARRAYS) as writer:
            for _ in range(SHARD_FRAMES + 1):
                writer.append({"x": np.zeros(3)})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.entry("pose", "k") is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_of_two_that_make_the_same_entry_the_first_wins_and_its_files_stay_where_they_are(tmp_path):
    """Whoever reads them is not disturbed."""
    store = Store(tmp_path)
    with store.writer("pose", "k", FRAME_ARRAYS) as slow:
        slow.append({"x": np.zeros(3)})
        fill(store, "k", 2)
        first = (tmp_path / "pose/k").stat().st_ino
    assert (tmp_path / "pose/k").stat().st_ino == first
    assert store.entry("pose", "k").num_frames == 2
    assert [path.name for path in (tmp_path / "pose").iterdir()] == ["k"]


def test_an_entry_that_comes_while_a_later_writer_settles_its_files_stays(tmp_path, monkeypatch):
    store, settled = Store(tmp_path), []

    def settle_after_a_rival(path):
        if path.name == "k" and not settled:
            settled.append(path)
            fill(store, "k", 2)

    monkeypatch.setattr(atomic, "_fsync", settle_after_a_rival)
    with store.writer("pose", "k", FRAME_ARRAYS) as slow:
        slow.append({"x": np.zeros(3)})
    assert store.entry("pose", "k").num_frames == 2


def test_a_damaged_entry_makes_room_for_a_whole_one(tmp_path):
    store = Store(tmp_path)
    fill(store, "k", 3)
    (tmp_path / "pose/k/entry.json").write_text("{")
    fill(store, "k", 2)
    assert store.entry("pose", "k").num_frames == 2
    assert [path.name for path in (tmp_path / "pose").iterdir()] == ["k"]


@pytest.mark.parametrize("damaged", [False, True])
def test_any_number_may_write_the_same_entry_at_once(tmp_path, damaged):
    store, writers = Store(tmp_path), 4
    ready = threading.Barrier(writers)

    def write(key: str) -> None:
        with store.writer("pose", key, FRAME_ARRAYS) as writer:
            writer.append({"x": np.zeros(3)})
            ready.wait(timeout=30)

    with ThreadPoolExecutor(writers) as threads:
        for number in range(25):
            if damaged:
                (tmp_path / f"pose/k{number}").mkdir(parents=True)
                (tmp_path / f"pose/k{number}/entry.json").write_text("{")
            list(threads.map(write, [f"k{number}"] * writers))
    assert {path.name for path in (tmp_path / "pose").iterdir()} == {f"k{number}" for number in range(25)}
    assert all(store.entry("pose", f"k{number}") for number in range(25))


@pytest.mark.parametrize("damage", ["cut", "gone", "marker", "flipped"])
def test_damage_is_found_and_the_entry_is_made_anew(tmp_path, damage):
    store = Store(tmp_path)
    fill(store, "good", 3)
    fill(store, "bad", 3)
    shard = next((tmp_path / "pose/bad").glob("*.safetensors"))
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif damage == "gone":
        shard.unlink()
    elif damage == "marker":
        (tmp_path / "pose/bad/entry.json").write_text("{")
    else:
        data = bytearray(shard.read_bytes())
        data[-1] ^= 1
        shard.write_bytes(data)
    if damage != "flipped":
        assert store.entry("pose", "bad") is None
    assert [path.name for path in store.verify()] == ["bad"]
    assert store.verify() == []
    assert store.entry("pose", "bad") is None
    assert store.entry("pose", "good") is not None


def test_a_shard_that_is_no_safetensors_is_one_line_whose_advice_mends_it(tmp_path):
    store = Store(tmp_path)
    fill(store, "k", 1)
    shard = next((tmp_path / "pose/k").glob("*.safetensors"))
    shard.write_bytes(b"x" * shard.stat().st_size)
    with pytest.raises(UserError, match="damaged") as caught:
        list(store.entry("pose", "k").items(FRAME_ARRAYS))
    advised = str(caught.value).partition("python -m directanimator.cues ")[2].partition(" removes")[0]
    assert main(advised.split()) == 0
    assert store.entry("pose", "k") is None


@given(st.permutations(range(4)))
def test_what_was_used_least_recently_makes_room_first(tmp_path_factory, order):
    store = Store(tmp_path_factory.mktemp("store"))
    for number in range(4):
        fill(store, f"k{number}", 2)
    size = sum(path.stat().st_size for path in (store.root / "pose/k0").iterdir())
    for age, number in enumerate(order):
        os.utime(store.root / f"pose/k{number}/entry.json", (1000 + age, 1000 + age))
    small = Store(store.root, 2 * size + size // 2)
    assert [path.name for path in small.evict()] == [f"k{number}" for number in order[:2]]
    kept = small.entry("pose", f"k{order[2]}")
    assert [path.name for path in Store(store.root, 1).evict([kept])] == [f"k{order[3]}"]


@given(st.dictionaries(st.text("abc", min_size=1), st.one_of(st.integers(), st.booleans(), st.none(), st.text())))
def test_keys_name_values_whatever_their_order(values):
    turned = dict(reversed(values.items()))
    assert key_of(values) == key_of(turned)
    assert key_of(values) != key_of({**values, "d": 1})


def test_a_value_without_one_spelling_has_no_key():
    with pytest.raises((TypeError, ValueError)):
        key_of({"x": float("nan")})


def test_what_another_process_removes_meanwhile_is_no_error(tmp_path, monkeypatch):
    store = Store(tmp_path)
    for name in ("gone", "old", "new"):
        fill(store, name, 2)
    entry, directories = store.entry("pose", "gone"), store._directories()
    shutil.rmtree(entry.directory)
    monkeypatch.setattr(Store, "_directories", lambda _: directories)
    store.touch(entry)
    assert {path.name for path in Store(tmp_path, 1).evict()} == {"old", "new"}


@pytest.mark.parametrize("sweep", [Store.evict, Store.verify])
def test_what_killed_writers_left_is_swept_but_not_the_work_of_living_ones(tmp_path, sweep):
    store = Store(tmp_path)
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    host = socket.gethostname()
    left = {pid: tmp_path / "pose" / f".k.tmp-{host}-{pid}-0" for pid in (dead.pid, os.getppid())}
    left["foreign"] = tmp_path / "pose" / ".k.tmp-foo"
    for path in left.values():
        path.mkdir(parents=True)
        (path / "shard").write_bytes(b"half")
    sweep(store)
    assert [path.exists() for path in left.values()] == [False, True, True]
