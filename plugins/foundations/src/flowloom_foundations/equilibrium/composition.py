"""Several conditions at once, by adding their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowloom.conditions import is_null, withheld
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Wrapped
from flowloom.guidance import Guidance
from flowloom.state import Cond, State, batch_size, concat, first_leaf, map_state

__all__ = ["Composition"]

ADDED = ("gradient", "score")
"""Kinds whose sum belongs to the product of the laws: gradients of energies and of log densities."""


class Composition(Guidance):
    r"""Samples that answer to several classes: :math:`\sum_k w_k \nabla E(x, y_k)` (2510.02300, section 4.3).

    Energies add, so it is the landscape of the product :math:`\prod_k p(x | y_k)^{w_k}`. Whatever the solve
    is given for the condition is replaced; all classes run as one larger batch.

    Args:
        classes: y_k, ids of the condition.
        weights: w_k; 1 each where left out.
        condition: its name.
    """

    def __init__(
        self, classes: Sequence[int] = (0, 1), weights: Sequence[float] = (), condition: str = "label"
    ) -> None:
        if not classes or (weights and len(weights) != len(classes)):
            raise ValueError(f"give classes, and a weight for each or none, got {classes} and {weights}")
        self.classes, self.condition = tuple(classes), condition
        self.weights = tuple(weights) or (1.0,) * len(self.classes)

    def __call__(self, field: Field) -> Field:
        """The sum of the field under every class.

        Raises:
            IncompatibleError: adding fields of this kind means nothing, or it is not told the condition.
        """
        if field.kind not in ADDED:
            raise IncompatibleError(
                f"composition adds gradients of landscapes or scores, not a field of kind {field.kind}"
            )
        if field.informs is not None and self.condition not in field.informs:
            raise IncompatibleError(
                f"composition: the network has no condition '{self.condition}'; it has "
                f"{', '.join(field.informs) or 'none'}"
            )
        return _Composed(field, self)


class _Composed(Wrapped):
    def __init__(self, field: Field, rule: Composition) -> None:
        super().__init__(field)
        self.rule = rule

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        rule, n, k = self.rule, batch_size(x), len(self.rule.classes)
        device = first_leaf(x).device
        told = {name: value for name, value in cond.items() if not is_null(name)}
        for name in told.keys() - {rule.condition}:
            if (rows := withheld(cond, name)) is not None:
                told[f"null_{name}"] = rows
        several = {name: torch.cat([value] * k) for name, value in told.items()}
        several[rule.condition] = torch.tensor(rule.classes, device=device).repeat_interleave(n)
        answers = self.ask(concat([x] * k), map_state(lambda v: torch.cat([v] * k), t), several, generator)

        def add(values: Tensor) -> Tensor:
            weights = torch.tensor(rule.weights, dtype=values.dtype, device=device)
            return torch.tensordot(weights, values.reshape(k, n, *values.shape[1:]), 1)

        return map_state(add, answers)

    def calls(self, t: float, cond: Cond) -> int:
        """One evaluation a class."""
        return len(self.rule.classes) * self.field.calls(t, cond)
