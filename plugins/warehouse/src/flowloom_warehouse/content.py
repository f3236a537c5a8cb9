"""What an object is, as a hash of all that it holds: the same in every process, and another one otherwise."""

from __future__ import annotations

import functools
import hashlib
import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowloom.data import Dataset

__all__ = ["content", "raw"]

_PLAIN = (bool, int, float, complex, str, bytes, Enum, PurePath, range, slice, torch.dtype, torch.device)


def content(value: object) -> str:
    """A hash of settings and tensors, however deep they lie.

    Of a module: its parameters and buffers, those of others within it as well, wherever they are saved. Of
    any object: its class and its attributes, but for private ones, which are taken to follow from the others
    unless the constructor asks for them by that name. Of a function its name and what it closes over. Of a
    data set that an object keeps its class alone. Code is not looked at.

    Args:
        value: numbers, words, tensors, arrays, containers, modules and objects of such.

    Raises:
        TypeError: something in it can be told from nothing else: it has no attributes and does not pickle.
    """
    digest = hashlib.sha256()
    _tell(value, digest.update, [])
    return digest.hexdigest()


def raw(value: Tensor) -> bytes:
    """Type, shape and entries."""
    flat = value.detach().cpu().contiguous().view(-1)
    entries = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return f"{value.dtype}{tuple(value.shape)}".encode() + entries


def _tell(value: object, add: Callable[[bytes], None], above: list[object]) -> None:
    add(f"({type(value).__module__}.{type(value).__qualname__} ".encode())
    within = [*above, value]
    if any(value is one for one in above):  # a circle
        add(b"above")
    elif value is None or isinstance(value, _PLAIN):
        add(repr(value).encode())
    elif isinstance(value, Tensor):
        add(raw(value))
    elif isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        add(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            _tell_all([key, value[key]], add, within)
    elif isinstance(value, AbstractSet):
        _tell_all(sorted(content(one) for one in value), add, within)
    elif isinstance(value, (list, tuple)):
        _tell_all(value, add, within)
    elif isinstance(value, np.ndarray):
        _tell_all([value.shape, *value.ravel()], add, within)
    elif isinstance(value, types.ModuleType):
        add(value.__name__.encode())
    elif isinstance(value, functools.partial):
        _tell_all([value.func, value.args, value.keywords], add, within)
    elif isinstance(value, types.MethodType):
        _tell_all([value.__func__.__qualname__, value.__self__], add, within)
    elif isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        add(f"{value.__module__}.{value.__qualname__}".encode())
        if isinstance(value, types.FunctionType):
            closed = [cell.cell_contents for cell in value.__closure__ or ()]
            _tell_all([value.__defaults__, value.__kwdefaults__, closed], add, within)
    elif not isinstance(value, Dataset):
        _tell(_held(value), add, within)
    add(b")")


def _tell_all(values: Iterable[object], add: Callable[[bytes], None], above: list[object]) -> None:
    for one in values:
        _tell(one, add, above)


def _held(value: object) -> object:
    """What an object is made of."""
    names = [*getattr(value, "__dict__", ()), *(n for k in type(value).__mro__ for n in _slots(k))]
    if not names and not hasattr(value, "__dict__"):
        return value.__reduce_ex__(4)  # of another language
    asked = {f"_{name}" for name in _parameters(type(value))}
    held: dict[str, Any] = {
        name: getattr(value, name)
        for name in names
        if (name in asked or not name.startswith("_")) and hasattr(value, name)
    }
    if isinstance(value, nn.Module):
        held.pop("training", None)
        # By module, which knows what it keeps and where, and not by the private tables of torch.
        held |= {"parameters": dict(value.named_parameters(recurse=False))}
        held |= {"buffers": dict(value.named_buffers(recurse=False)), "modules": dict(value.named_children())}
    return held


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _parameters(kind: type) -> Iterable[str]:
    try:
        return inspect.signature(kind).parameters
    except (TypeError, ValueError):
        return ()
