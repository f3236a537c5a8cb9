"""Both answers of a field that guidance mixes: told the conditions, and with some of them withheld."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowloom.conditions import doubled
from flowloom.fields import Field
from flowloom.fields.base import Kind, evaluate
from flowloom.state import Cond, State, batch_size, concat, first_leaf, map_state, part

__all__ = ["both_branches", "comparable", "lerp_logits", "mixed"]


def both_branches(
    field: Field,
    x: State,
    t: Any,
    cond: Cond,
    conditions: Sequence[str] = (),
    generator: torch.Generator | None = None,
) -> tuple[State, State]:
    """What a field says with its conditions, and without: one call on the doubled batch.

    Posteriors are handed back as log probabilities, in which they can be mixed.

    Args:
        field: that is asked.
        x: states ``(batch, *event)``.
        t: their times.
        cond: their conditions.
        conditions: names of those that the second branch withholds; all where empty.
        generator: of fields that draw.
    """
    n, device = batch_size(x), first_leaf(x).device
    twice = doubled(cond, n, conditions, device)
    both = evaluate(field, concat([x, x]), map_state(lambda v: torch.cat([v, v]), t), twice, generator)
    both = comparable(both, field.kind)
    return map_state(lambda v: v[:n], both), map_state(lambda v: v[n:], both)


def comparable(value: State, kind: Kind) -> State:
    """Values in which fields are mixed linearly: logits as log probabilities, the rest as it is."""
    if isinstance(value, dict):
        return {name: comparable(v, part(kind, name)) for name, v in value.items()}
    logs: Tensor = value.log_softmax(-1) if kind == "posterior" else value
    return logs


def mixed(null: State, told: State, weight: float, kind: Kind) -> State:
    """``(1 - weight) null + weight told``, of values that are `comparable`."""
    if isinstance(told, dict):
        assert isinstance(null, dict)
        return {name: mixed(null[name], v, weight, part(kind, name)) for name, v in told.items()}
    assert isinstance(null, Tensor)
    return (lerp_logits if kind == "posterior" else torch.lerp)(null, told, weight)


def lerp_logits(null: Tensor, told: Tensor, weight: float) -> Tensor:
    """Log probabilities mixed; a token that either forbids stays forbidden, at any weight."""
    forbidden = null.isneginf() | told.isneginf()
    return torch.where(forbidden, -torch.inf, torch.lerp(null, told, weight))
