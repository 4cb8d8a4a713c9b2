"""The pictures that the embedded base was trained on stay what they are, until SYNTH_VERSION says otherwise."""

import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from directanimator.data.spec import DataSpec
from directanimator.data.synthetic import SYNTH_VERSION, Split
from directanimator.data.synthetic.portable import times, turned, weighted_sum
from directanimator.data.synthetic_items import synthetic_item

PINNED: dict[tuple[Split, int, int], str] = {
    ("train", 0, 64): "22ae8476d443148863b15c8d2a22a0f4987f0257749d133c4c425810488784ea",
    ("train", 7, 64): "9a6774b65bfa3b00be59d7483c6b2db4bdeac39ac2d0c6f9dee137f06438f410",
    ("train", 1535, 32): "ef572c536b0b7533e97294b3898db71a73635fafdb638095ca95df4c2de20ba5",
    ("train", 123456, 32): "f5f5c5431a0d14320064862721342e6ad78ee816fa46ed957e4b737092e4e044",
    ("val", 3, 32): "198f8f57fb7c0c7951cb6efe66c829f330e71e6fa09dab73a57d65b38bca538f",
    ("test", 0, 32): "fb7df914af1c24a56a60fb4611f14cb0a2ea1130fdae1870d915a86e71173885",
    ("test", 47, 32): "14555d50aac2621e8306dd44dc3532ec0273ce16f2aefdc1a4ac355f0f2d9d68",
}
"""sha256 of all arrays of an item, by split, index and size. Taken on x86-64; no other kind of processor was tried."""
OTHER_KERNELS = {"OPENBLAS_CORETYPE": "Nehalem"}
"""Has BLAS round as on another processor."""


def digest_of(split: Split, index: int, size: int) -> str:
    return hashlib.sha256(fed(synthetic_item(split, index, DataSpec(size=size, latent_frames=2)))).hexdigest()


def fed(value: object) -> bytes:
    if dataclasses.is_dataclass(value):
        return b"".join(fed(getattr(value, field.name)) for field in dataclasses.fields(value))
    return value.tobytes() if isinstance(value, np.ndarray) else b""


@pytest.mark.parametrize(("split", "index", "size"), PINNED)
def test_an_item_is_bit_for_bit_what_it_was(split: Split, index: int, size: int) -> None:
    assert SYNTH_VERSION == 2, "a new version of the data needs new hashes"
    assert digest_of(split, index, size) == PINNED[split, index, size]


def digest_of_sums() -> str:
    """Of products and sums without BLAS, to the last bit."""
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 200, 3, 3))
    found = (times(first, second), turned(first, second[0, 0]), weighted_sum(second[0, 0], rng.random((3, 99))))
    return hashlib.sha256(b"".join(value.tobytes() for value in found)).hexdigest()


def test_it_is_so_on_a_processor_for_which_blas_has_other_kernels() -> None:
    split, index, size = case = next(iter(PINNED))
    command = f"from {__name__} import *; print(digest_of({split!r}, {index}, {size}), digest_of_sums())"
    told = subprocess.run(
        [sys.executable, "-c", command],
        env=os.environ | OTHER_KERNELS,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == [PINNED[case], digest_of_sums()]
