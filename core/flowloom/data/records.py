"""Examples as tensors by name, as files and checkpoints hold them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from flowloom.data.base import Examples
from flowloom.state import State, leaves

__all__ = ["examples_of", "records"]


def records(state: State, name: str, cond: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """A state as tensors ``name`` or ``name.part``, with conditions as ``cond.other``."""
    out = {f"{name}.{part}" if part else name: value for part, value in leaves(state)}
    return out | {f"cond.{other}": value for other, value in (cond or {}).items()}


def examples_of(kept: Mapping[str, Tensor], name: str) -> Examples:
    """What `records` made tensors of."""
    x: Any = {}
    for key, value in kept.items():
        head, *parts = key.split(".")
        if head == name and not parts:
            x = value
        elif head == name:
            room = x
            for part in parts[:-1]:
                room = room.setdefault(part, {})
            room[parts[-1]] = value
    return Examples(x, {k.removeprefix("cond."): v for k, v in kept.items() if k.startswith("cond.")})
