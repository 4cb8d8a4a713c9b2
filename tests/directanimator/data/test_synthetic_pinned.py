"""The pictures that the embedded base was trained on stay what they are, until SYNTH_VERSION says otherwise."""

import dataclasses
import hashlib

import numpy as np
import pytest

from directanimator.data.spec import DataSpec
from directanimator.data.synthetic import SYNTH_VERSION, Split
from directanimator.data.synthetic_items import synthetic_item

PINNED: dict[tuple[Split, int, int], str] = {
    ("train", 0, 64): "65f51e2898234f9884b8663adbcc26adb64df96a73768724df6644ffbb3f9ed8",
    ("train", 7, 64): "ca1c97bccac00db3a5930603fbf6c830a23d7ab67898d33c716ae3f996aa4a42",
    ("train", 1535, 32): "9defc89eb5b35e56e2a618a781a888b5aaee0fabc8eb13ec6f6e70c5813bf7a4",
    ("train", 123456, 32): "3d24c24c8d37b256ce9a956ce9c592cd869ea95926d1b6fdf890001589e56d47",
    ("val", 3, 32): "227276f46ca5aa03d4755525f136af323cc14f02897e79d8481899d40ccd484e",
    ("test", 0, 32): "f3bb9fad1c2a3e6ca803c505db002dab3327090e3e79b8df92acad8a53e8c78c",
    ("test", 47, 32): "c59a2303c9e153dbd8d198bcc59f6c37f6647b3dbcc778976ac2f6821f1e3cb1",
}
"""sha256 of all arrays of an item, by split, index and size. Taken on x86-64; no other kind of processor was tried."""


def fed(value: object) -> bytes:
    if dataclasses.is_dataclass(value):
        return b"".join(fed(getattr(value, field.name)) for field in dataclasses.fields(value))
    return value.tobytes() if isinstance(value, np.ndarray) else b""


@pytest.mark.parametrize(("split", "index", "size"), PINNED)
def test_an_item_is_bit_for_bit_what_it_was(split: Split, index: int, size: int) -> None:
    assert SYNTH_VERSION == 2, "a new version of the data needs new hashes"
    item = synthetic_item(split, index, DataSpec(size=size, latent_frames=2))
    assert hashlib.sha256(fed(item)).hexdigest() == PINNED[split, index, size]
