"""Pools of zeros are pools as trainings read them, and cost nothing to make."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from directanimator.data.pool import open_pool, zero_pool
from directanimator.data.synthetic_items import synthetic_item
from directanimator.model.embedded import load_codec
from directanimator.process_memory import resident_bytes
from directanimator.training.prepared import prepare
from experiments.benchmarks.alone import alone
from experiments.benchmarks.scaling import zero_item
from experiments.edit import edit
from experiments.presets import PRESETS

SPEC = edit(PRESETS["smoke"].spec, {"data.size": 32})


def test_a_clip_of_zeros_has_the_fields_of_a_prepared_clip() -> None:
    real = prepare(synthetic_item("train", 0, spec=SPEC.data), load_codec(), SPEC.data.size, SPEC.cues)
    zeros = zero_item(SPEC)
    assert {name: (value.shape, value.dtype) for name, value in zeros.items()} == {
        name: (value.shape, value.dtype) for name, value in real.items()
    }


@given(st.integers(1, 100_000))
@settings(max_examples=5)
def test_a_pool_of_zeros_holds_as_many_as_asked_for_in_no_room(
    tmp_path_factory: pytest.TempPathFactory, count: int
) -> None:
    directory = tmp_path_factory.mktemp("pools") / "pool"
    zero_pool(directory, count, zero_item(SPEC))
    for name, values in open_pool(directory).items():
        assert len(values) == count
        assert values[count - 1].shape == zero_item(SPEC)[name].shape
        assert not values[count - 1].any()
    assert sum(used(path) for path in directory.iterdir()) < 1_000_000


def used(path: Path) -> int:
    return path.stat().st_blocks * 512


def read_all(directory: Path) -> int:
    """Bytes that stay behind after every item was read once."""
    before = resident_bytes()
    for values in open_pool(directory).values():
        for index in range(len(values)):
            assert not values[index].any()
    return resident_bytes() - before


def test_reading_a_pool_leaves_nothing_in_memory(tmp_path: Path) -> None:
    zero_pool(tmp_path / "pool", 50, {"pixels": np.zeros((1000, 1000), np.uint8)})
    assert alone(read_all, tmp_path / "pool") < 10_000_000
