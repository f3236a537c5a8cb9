"""The "python version" of CIFAR-10, read without unpickling.

A batch file is a pickle, and unpickling runs whatever code a file asks for. This reader walks the opcodes
of the file and builds only what a batch consists of: a dictionary of strings, numbers, lists and one
array of bytes. Calls and classes that the file names are never looked up; the four that an array needs
are recognised by name and stand for plain data, and anything else is refused.
"""

from __future__ import annotations

import math
import pickletools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowloom.errors import DataError


@dataclass(frozen=True)
class _Name:
    name: str


@dataclass
class _Dtype:
    code: Any


@dataclass
class _Array:
    state: Any = None


_MARK = object()
_ARRAY_MAKERS = {f"numpy.{core}.multiarray _reconstruct" for core in ("core", "_core")}
_KNOWN = _ARRAY_MAKERS | {"numpy ndarray", "numpy dtype", "_codecs encode"}
_VALUES = {
    *("BININT", "BININT1", "BININT2", "INT", "LONG1", "NONE", "NEWTRUE", "NEWFALSE"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def read_python_batch(raw: bytes, where: str) -> tuple[Tensor, Tensor]:
    """Images and labels of one batch file of the python version.

    Args:
        raw: content of the file.
        where: name of the file, for messages.

    Returns:
        uint8 images ``(n, 3, 32, 32)`` and int64 labels ``(n,)``.

    Raises:
        DataError: the file is damaged, or is a pickle of anything but such a batch.
    """
    try:
        batch = _build(raw)
        fields = {_text(key): value for key, value in batch.items()}
        images, labels = fields["data"].state, fields["labels"]
        _, shape, dtype, fortran, content = images
        content = content.encode("latin-1") if isinstance(content, str) else content
        if dtype.code != "u1" or fortran or len(content) != math.prod(shape) or shape[1:] != (3072,):
            raise ValueError(f"an array of type {dtype.code} and shape {shape}")
        if len(labels) != shape[0] or not all(type(label) is int and 0 <= label < 10 for label in labels):
            raise ValueError(f"{len(labels)} labels beside {shape[0]} images, or labels beyond 0 to 9")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, UnicodeError) as error:
        raise DataError(
            f"{where} is no CIFAR-10 batch of the python version, or is damaged ({error}); "
            "get it anew, or take the binary version, cifar-10-binary.tar.gz"
        ) from error
    pixels = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return pixels.view(-1, 3, 32, 32), torch.tensor(labels)


def _build(raw: bytes) -> dict[Any, Any]:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, value, _ in pickletools.genops(raw):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            break
        if name in _VALUES:
            stack.append(_CONSTANTS.get(name, value))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(value)] = stack[-1]  # type: ignore[arg-type]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(value)])  # type: ignore[arg-type]
        elif name in _STEPS:
            _STEPS[name](stack)
        elif name == "GLOBAL":
            stack.append(_known(str(value)))
        else:
            raise ValueError(f"it uses {name}, which no batch needs")
    result = stack.pop()
    if stack or not isinstance(result, dict):
        raise ValueError("it holds no single dictionary")
    return result


def _known(name: str) -> _Name:
    if name not in _KNOWN:
        raise ValueError(f"it names {name.replace(' ', '.')}, which no batch needs")
    return _Name(name)


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    at = max(i for i, item in enumerate(stack) if item is _MARK)
    items = stack[at + 1 :]
    del stack[at:]
    return items


def _set_items(stack: list[Any]) -> None:
    items = _pop_to_mark(stack)
    stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _set_item(stack: list[Any]) -> None:
    value, key = stack.pop(), stack.pop()
    stack[-1][key] = value


def _append(stack: list[Any]) -> None:
    value = stack.pop()
    stack[-1].append(value)


def _tuple_of(count: int, stack: list[Any]) -> None:
    items = tuple(stack[len(stack) - count :])
    del stack[len(stack) - count :]
    stack.append(items)


def _stack_global(stack: list[Any]) -> None:
    attribute, module = stack.pop(), stack.pop()
    stack.append(_known(f"{module} {attribute}"))


def _reduce(stack: list[Any]) -> None:
    arguments, called = stack.pop(), stack.pop()
    if called == _Name("_codecs encode"):
        text, encoding = arguments
        if encoding != "latin1":
            raise ValueError(f"it encodes text as {encoding}")
        stack.append(text.encode("latin-1"))
    elif called == _Name("numpy dtype"):
        stack.append(_Dtype(_text(arguments[0])))
    elif (
        isinstance(called, _Name) and called.name in _ARRAY_MAKERS and arguments[0] == _Name("numpy ndarray")
    ):
        stack.append(_Array())
    else:
        raise ValueError("it makes a call that no batch needs")


def _build_state(stack: list[Any]) -> None:
    state = stack.pop()
    if isinstance(stack[-1], _Array):
        stack[-1].state = state
    elif not isinstance(stack[-1], _Dtype):
        raise ValueError("it sets the state of something that is no array")


_STEPS: dict[str, Any] = {
    "MARK": lambda stack: stack.append(_MARK),
    "EMPTY_DICT": lambda stack: stack.append({}),
    "EMPTY_LIST": lambda stack: stack.append([]),
    "EMPTY_TUPLE": lambda stack: stack.append(()),
    "TUPLE": lambda stack: stack.append(tuple(_pop_to_mark(stack))),
    "TUPLE1": lambda stack: _tuple_of(1, stack),
    "TUPLE2": lambda stack: _tuple_of(2, stack),
    "TUPLE3": lambda stack: _tuple_of(3, stack),
    "APPEND": _append,
    "APPENDS": lambda stack: (items := _pop_to_mark(stack), stack[-1].extend(items)),
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": _build_state,
}


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
