"""Arrays out of a file that Python pickled, without unpickling: nothing in the file can run."""

import math
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from directanimator.errors import UserError

_MARK = object()
_RECONSTRUCT = ("numpy.core.multiarray", "_reconstruct")
_NDARRAY = ("numpy", "ndarray")
_DTYPE = ("numpy", "dtype")
_GLOBALS = frozenset({_RECONSTRUCT, _NDARRAY, _DTYPE, ("numpy._core.multiarray", "_reconstruct")})
_CONSTANTS: Mapping[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    {"BININT", "BININT1", "BININT2", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
)
_IGNORED = frozenset({"PROTO", "FRAME", "STOP"})


@dataclass
class _Dtype:
    code: str
    order: str = "="


@dataclass
class _Array:
    value: np.ndarray | None = None


def stored_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file that pickled nested dictionaries of NumPy arrays, by their keys joined with `/`.

    The opcodes are read by hand, and only those that such dictionaries need.
    Raises: UserError if the file holds anything else or is cut short."""
    try:
        return dict(_flattened(_read(path.read_bytes()), ""))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as problem:
        raise UserError(f"{path}: holds more or less than arrays in dictionaries: {problem}") from problem


def _read(content: bytes) -> object:
    stack: list[object] = []
    memo: list[object] = []
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MEMOIZE":
            memo.append(stack[-1])
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[_whole(argument)])
        elif name not in _IGNORED:
            _apply(name, stack)
    (value,) = stack
    return value


def _apply(name: str, stack: list[object]) -> None:
    if name == "MARK":
        stack.append(_MARK)
    elif name in ("EMPTY_DICT", "EMPTY_TUPLE"):
        stack.append({} if name == "EMPTY_DICT" else ())
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        count = int(name[-1])
        stack[-count:] = [tuple(stack[-count:])]
    elif name == "TUPLE":
        stack.append(tuple(_since_mark(stack)))
    elif name == "STACK_GLOBAL":
        stack[-2:] = [_known_global(stack[-2], stack[-1])]
    elif name == "REDUCE":
        arguments = stack.pop()
        stack.append(_made(stack.pop(), arguments))
    elif name == "BUILD":
        _fill(stack.pop(), stack)
    elif name in ("SETITEM", "SETITEMS"):
        pairs = [stack.pop(-2), stack.pop()] if name == "SETITEM" else _since_mark(stack)
        _dictionary(stack[-1]).update(zip(pairs[::2], pairs[1::2], strict=True))
    else:
        raise ValueError(f"opcode {name}")


def _since_mark(stack: list[object]) -> list[object]:
    start = len(stack) - 1 - stack[::-1].index(_MARK)
    found = stack[start + 1 :]
    del stack[start:]
    return found


def _known_global(module: object, name: object) -> object:
    if (module, name) not in _GLOBALS:
        raise ValueError(f"names {module}.{name}")
    return module, name


def _made(called: object, arguments: object) -> object:
    if called == _DTYPE and isinstance(arguments, tuple):
        return _Dtype(str(arguments[0]))
    if called in _GLOBALS and called != _NDARRAY:
        return _Array()
    raise ValueError(f"calls {called}")


def _fill(state: object, stack: list[object]) -> None:
    """BUILD: the state of a dtype is (version, byte order, ...), of an array (version, shape, dtype, order, bytes)."""
    target = stack[-1]
    if not isinstance(state, tuple):
        raise ValueError(f"state {type(state).__name__}")
    if isinstance(target, _Dtype):
        target.order = str(state[1])
    elif isinstance(target, _Array):
        _, shape, dtype, in_columns, content = state
        kind = np.dtype(dtype.code).newbyteorder(dtype.order)
        if kind.hasobject or len(content) != kind.itemsize * math.prod(shape):
            raise ValueError("an array's bytes do not fit its shape")
        target.value = np.frombuffer(content, kind).reshape(shape, order="F" if in_columns else "C")
    else:
        raise ValueError(f"builds {type(target).__name__}")


def _flattened(value: object, prefix: str) -> list[tuple[str, np.ndarray]]:
    if isinstance(value, _Array) and value.value is not None:
        return [(prefix, value.value)]
    return [
        found
        for key, inner in _dictionary(value).items()
        for found in _flattened(inner, f"{prefix}/{key}" if prefix else str(key))
    ]


def _dictionary(value: object) -> dict[object, object]:
    if not isinstance(value, dict):
        raise ValueError(f"holds {type(value).__name__} where a dictionary belongs")
    return value


def _whole(argument: object) -> int:
    if not isinstance(argument, int):
        raise ValueError(f"index {argument!r}")
    return argument
