import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.errors import UserError
from directanimator.metrics.protocol import Protocol, compare

PROTOCOL = Protocol(
    metric="clip_scores", version=1, size=64, fps=8.0, frames=9, clips=48, source="synthetic", split="test"
)
CHANGES = {
    "metric": "fvd", "version": 2, "size": 128, "fps": 8.5, "frames": 5, "clips": 47, "source": "folder",
    "split": "val",
}  # fmt: skip
FIELDS = st.sampled_from(sorted(CHANGES))


def changed(*names: str) -> Protocol:
    return PROTOCOL.model_copy(update={name: CHANGES[name] for name in names})


def test_the_changes_cover_every_field():
    assert CHANGES.keys() == Protocol.model_fields.keys()


@given(FIELDS)
def test_any_field_changes_the_id(name):
    assert changed(name).id != PROTOCOL.id


def test_the_id_is_eight_hexadecimal_digits_and_stays():
    assert re.fullmatch("[0-9a-f]{8}", PROTOCOL.id)
    assert Protocol.of_record(PROTOCOL.model_dump(mode="json")).id == PROTOCOL.id


@given(FIELDS)
def test_a_refusal_names_the_field_that_differs_and_no_other(name):
    with pytest.raises(UserError) as refusal:
        compare(PROTOCOL, changed(name))
    named = re.findall(r"(\w+) \(", str(refusal.value))
    assert named == [name]


def test_a_refusal_names_every_field_that_differs():
    with pytest.raises(UserError, match=r"size \(64 and 128\), clips \(48 and 47\)"):
        compare(PROTOCOL, changed("size", "clips"))


def test_equal_protocols_may_be_compared():
    compare(PROTOCOL, changed())


def test_whole_and_floating_frame_rates_are_one_protocol():
    assert Protocol.of_record(PROTOCOL.model_dump() | {"fps": 8}).id == PROTOCOL.id


@pytest.mark.parametrize(
    ("record", "named"),
    [(None, "protocol"), ({}, r"protocol\.metric"), (PROTOCOL.model_dump() | {"size": "64"}, r"protocol\.size"),
     (PROTOCOL.model_dump() | {"clips": 0}, r"protocol\.clips"), (PROTOCOL.model_dump() | {"x": 1}, r"protocol\.x")],
)  # fmt: skip
def test_what_is_no_protocol_is_refused_by_name(record, named):
    with pytest.raises(UserError, match=named):
        Protocol.of_record(record)
