"""Geometry beside networks in half precision: products of matrices keep the digits of the points."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

import torch
from torch import Tensor

from flowloom.geometry.base import Geometry

__all__ = ["apart_from_autocast"]

G = TypeVar("G", bound=type[Geometry])


def apart_from_autocast(kind: G) -> G:
    """A geometry whose public operations compute as if no autocast were on; for spaces of matrices.

    Autocast rounds every product of matrices to half precision, so that rotations would leave their manifold
    by 1e-3 in a training whose network alone was meant to be fast. Halves among the arguments (a network's
    answer) become as wide as the widest, at least float32.
    """
    for name, operation in list(vars(kind).items()):
        if isinstance(operation, FunctionType) and not name.startswith("_"):
            setattr(kind, name, _apart(operation))
    return kind


def _apart(operation: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(operation)
    def exact(self: Geometry, *args: Any, **kwargs: Any) -> Any:
        where = next((a.device.type for a in args if isinstance(a, Tensor)), None)
        if where is None or not torch.is_autocast_enabled(where):
            return operation(self, *args, **kwargs)
        kinds = [a.dtype for a in args if isinstance(a, Tensor) and a.is_floating_point()]
        wide = functools.reduce(torch.promote_types, kinds, torch.float32)
        widened = (_widened(a, wide) for a in args)
        with torch.autocast(where, enabled=False):
            return operation(self, *widened, **kwargs)

    return exact


def _widened(value: Any, wide: torch.dtype) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.to(wide) if half else value
