"""Conditions from plain values: numbers, names, lists and tensors, as a person writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowloom.conditions import is_null
from flowloom.errors import ShapeError
from flowloom.spec import Condition

__all__ = ["class_ids", "conditions_for"]


def conditions_for(known: Mapping[str, Condition], n: int, given: Mapping[str, Any]) -> dict[str, Tensor]:
    """Conditions of ``n`` rows.

    A class may be given by number or by name, for all rows or as a list of ``n``; one value of the
    condition's shape stands for all rows; tensors with ``n`` rows are used as they are.

    Args:
        known: conditions that may be given.
        n: number of rows.
        given: by name; None counts as left out, and what only judges may see is left out.

    Raises:
        ShapeError: an unknown condition or class, a wrong shape or number of rows; says what is accepted.
    """
    ragged = any(condition.role == "real" for condition in known.values())
    out = {}
    for name, value in given.items():
        if value is None:
            continue
        condition = known.get(name)
        if condition is not None and condition.role == "judged":
            continue
        if condition is None and not is_null(name):
            raise ShapeError(f"unknown condition '{name}'; this flow knows: {', '.join(known) or 'none'}")
        out[name] = _rows(name, condition or Condition(), value, n, ragged)
    return out


def _rows(name: str, condition: Condition, value: Any, n: int, ragged: bool) -> Tensor:
    shape = tuple(condition.shape)
    try:
        tensor = torch.as_tensor(_numbers(name, condition, value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(f"condition '{name}' takes {_takes(condition, n)}, got {value!r}") from error
    if tuple(tensor.shape) == shape:
        tensor = tensor.expand(n, *shape)
    if tensor.ndim == 0 or tensor.shape[0] != n:
        count = tensor.shape[0] if tensor.ndim else 1
        raise ShapeError(
            f"condition '{name}' has {count} rows for {n} examples; it takes {_takes(condition, n)}"
        )
    if condition.role == "inform" and not _fits(tuple(tensor.shape[1:]), shape, ragged):
        got = f"{n} rows of shape {tuple(tensor.shape[1:])}"
        raise ShapeError(f"condition '{name}' takes {_takes(condition, n)}, got {got}")
    return tensor if condition.classes is None else class_ids(name, condition.classes, tensor)


def _fits(shape: tuple[int, ...], asked: tuple[int, ...], ragged: bool) -> bool:
    """Whether rows have the condition's shape; where examples differ in size they may be shorter."""
    if not ragged:
        return shape == asked
    return len(shape) == len(asked)


def class_ids(name: str, classes: int, values: Tensor) -> Tensor:
    """Class ids as int64, whatever whole numbers they came as.

    Raises:
        ShapeError: they are not whole numbers, or not in ``[0, classes)``.
    """
    if values.is_floating_point():
        raise ShapeError(f"condition '{name}' takes class ids (whole numbers), got {values.dtype}")
    ids = values.long()
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= classes):
        wrong = int(ids.min()) if int(ids.min()) < 0 else int(ids.max())
        raise ShapeError(f"condition '{name}' = {wrong} is out of range; classes are 0 to {classes - 1}")
    return ids


def _numbers(name: str, condition: Condition, value: Any) -> Any:
    """Class names as ids; everything else as it is."""
    if isinstance(value, str):
        return _id(name, condition, value)
    if isinstance(value, (list, tuple)):
        return [_numbers(name, condition, item) for item in value]
    return value


def _id(name: str, condition: Condition, word: str) -> int:
    if word in condition.names:
        return condition.names.index(word)
    raise ShapeError(f"{name} has no class '{word}'; it has: {', '.join(condition.names) or 'no names'}")


def _takes(condition: Condition, n: int) -> str:
    what = "a class" if condition.classes is not None else f"numbers of shape {tuple(condition.shape)}"
    return f"{what}, or {n} of them"
