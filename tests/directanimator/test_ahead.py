"""Work done ahead: the same items in the same order, the same end, and no thread left behind."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.ahead import ahead


@given(st.lists(st.one_of(st.integers(), st.none())), st.integers(1, 5))
def test_the_items_come_in_order(items, depth):
    assert list(ahead(iter(items), depth)) == items


@given(st.integers(0, 20), st.integers(1, 5))
def test_the_exception_comes_after_the_items_before_it(count, depth):
    def broken():
        yield from range(count)
        raise KeyError("end")

    got: list[int] = []
    with pytest.raises(KeyError, match="end"):
        got.extend(ahead(broken(), depth))
    assert got == list(range(count))


@given(st.integers(0, 9), st.integers(1, 4))
def test_who_stops_early_closes_the_source_and_leaves_no_thread(wanted, depth):
    closed, before = [], threading.active_count()

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    reader = ahead(endless(), depth)
    for _ in range(wanted + 1):
        next(reader)
    reader.close()
    assert closed == [True]
    assert threading.active_count() == before


def test_no_more_is_read_than_depth_allows():
    read = []

    def counted():
        for k in range(100):
            read.append(k)
            yield k

    reader = ahead(counted(), 2)
    assert next(reader) == 0
    reader.close()
    assert len(read) <= 4
