"""The pictures that the embedded base was trained on stay what they are, until SYNTH_VERSION says otherwise."""

import dataclasses
import hashlib

import numpy as np
import pytest

from directanimator.data.spec import DataSpec
from directanimator.data.synthetic import SYNTH_VERSION, Split
from directanimator.data.synthetic_items import synthetic_item

PINNED: dict[tuple[Split, int, int], str] = {
    ("train", 0, 64): "1976d5733dd8b74b2afba3290cbb2d81ef4954c19d3f914c1309803a83e06dbc",
    ("train", 7, 64): "b11725b8a78debb984c45e0866e0bdd71169f6d06deb6f953b4dca78c7e7a596",
    ("train", 1535, 32): "2e388d6d0adb9bb4b36efcd8a0ed4e8b735c7d843a7aa41cd51956fe5acbaa5d",
    ("train", 123456, 32): "f1c6112e67fcc439d37f001d6b162ac8e2aa101968511e5436ea6e3e652704b9",
    ("val", 3, 32): "cb42f50a6ae54182a0208629566f5be095da343c6e208a90c61e5c6d4555878b",
    ("test", 0, 32): "69e5d1ab95fffad067293c1dd2b035349a37446a5ef254e59ae9adeb70dfb898",
    ("test", 47, 32): "e374c646a496a5791b6ac6abba5467d911e1bbb0e133bb6cd7999cf946241e6e",
}
"""sha256 of all arrays of an item, by split, index and size. Taken on x86-64; no other kind of processor was tried."""


def fed(value: object) -> bytes:
    if dataclasses.is_dataclass(value):
        return b"".join(fed(getattr(value, field.name)) for field in dataclasses.fields(value))
    return value.tobytes() if isinstance(value, np.ndarray) else b""


@pytest.mark.parametrize(("split", "index", "size"), PINNED)
def test_an_item_is_bit_for_bit_what_it_was(split: Split, index: int, size: int) -> None:
    assert SYNTH_VERSION == 1, "a new version of the data needs new hashes"
    item = synthetic_item(split, index, DataSpec(size=size, latent_frames=2))
    assert hashlib.sha256(fed(item)).hexdigest() == PINNED[split, index, size]
