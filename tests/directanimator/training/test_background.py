"""Writing in the background: in order, one at a time, to its end, and no error is lost."""

import functools
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.training.background import BackgroundWriter


@given(st.lists(st.booleans(), max_size=6))
def test_everything_begun_is_done_in_order_one_at_a_time_and_each_error_is_told_once(fails):
    done, at_once, told = [], [], []
    at_work = threading.Semaphore()

    def write(number, is_bad):
        at_once.append(at_work.acquire(blocking=False))
        time.sleep(0.001)
        done.append(number)
        at_work.release()
        if is_bad:
            raise OSError(number)

    def telling(call):
        try:
            call()
        except OSError as error:
            told.append(error.args[0])
            return True
        return False

    with BackgroundWriter() as writer:
        for number, is_bad in enumerate(fails):
            begin = functools.partial(writer.start, functools.partial(write, number, is_bad))
            if telling(begin):
                assert done == list(range(number))
                assert not telling(begin)
        telling(writer.wait)
        assert not telling(writer.wait)
    assert done == list(range(len(fails)))
    assert told == [number for number, is_bad in enumerate(fails) if is_bad]
    assert all(at_once)


def test_the_caller_goes_on_while_it_is_written():
    may_end = threading.Event()
    with BackgroundWriter() as writer:
        writer.start(lambda: may_end.wait(30) and None)
        may_end.set()  # reached only if the caller did not wait


@pytest.mark.parametrize("leaving", [None, KeyboardInterrupt, ValueError])
def test_at_the_end_all_is_written_and_its_error_told(leaving):
    done = []

    def write():
        time.sleep(0.02)
        done.append(True)
        raise OSError("full disk")

    def work():
        with BackgroundWriter() as writer:
            writer.start(write)
            if leaving:
                raise leaving

    with pytest.raises(OSError, match="full disk"):
        work()
    assert done
