"""Work in a process of its own, so that the memory of what came before it is not in the figure."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

Args = ParamSpec("Args")
Result = TypeVar("Result")

_RETURN_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": str(1 << 17), "MALLOC_TRIM_THRESHOLD_": str(1 << 17)}
"""glibc's settings under which a freed tensor leaves the process; by default its heap keeps some, by chance."""


def alone(work: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
    """What a module's function returns, called in a fresh process that ends with it."""
    context = multiprocessing.get_context("spawn")
    with _environment(_RETURN_AT_ONCE), ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(work, *args, **kwargs).result()


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
