"""What rules of two branches share: one call with the conditions, one without."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.fields import Field, Wrapped
from flowloom.guidance import Guidance, both_branches
from flowloom.guidance.classifier_free import needs_dropout
from flowloom.layout import Layout
from flowloom.state import Cond, State, expand

__all__ = ["TwoBranches", "row_norm"]


class TwoBranches(Guidance):
    """A rule that makes one answer of the conditional and the unconditional one.

    Args:
        weight: the strongest weight of the conditional branch; at 1 the field is left alone.
        conditions: names of the conditions that the null branch withholds; all where empty.
    """

    def __init__(self, weight: float, conditions: Sequence[str] = ()) -> None:
        if not math.isfinite(weight):
            raise ValueError(f"weight must be finite, got {weight}")
        self.weight, self.conditions = weight, tuple(conditions)

    def __call__(self, field: Field) -> Field:
        """The guided field."""
        return _Guided(field, self)

    @abstractmethod
    def mixed(
        self, told: Tensor, null: Tensor, x: Tensor, t: Any, field: Field, layout: Layout | None = None
    ) -> Tensor:
        """One answer of two, of the field's kind (posteriors as log probabilities).

        Args:
            told: with the conditions.
            null: without.
            x: states.
            t: their times.
            field: that was asked.
            layout: what is real and given; sizes are of the rest.
        """

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """An objective that never withheld conditions."""
        yield from needs_dropout(self.weight, parts, self.conditions)


class _Guided(Wrapped):
    def __init__(self, field: Field, rule: TwoBranches) -> None:
        super().__init__(field)
        self.rule = rule

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """One network call on the doubled batch, then the rule."""
        if not self._on(cond):
            return self.ask(x, t, cond, generator)
        told, null = both_branches(self.field, x, t, cond, self.rule.conditions, generator)
        assert isinstance(told, Tensor)
        assert isinstance(null, Tensor)
        assert isinstance(x, Tensor)
        return self.rule.mixed(told, null, x, t, self.field, self.layout_of(cond))

    def calls(self, t: float, cond: Cond) -> int:
        """Twice the field's, where there is a condition to withhold."""
        return self.field.calls(t, cond) * (2 if self._on(cond) else 1)

    def _on(self, cond: Cond) -> bool:
        return self.rule.weight != 1 and self.field.informed(cond)


def row_norm(x: Tensor, layout: Layout | None = None) -> Tensor:
    """The norm of every row's real and free entries, in single precision at least, over the rows' shape."""
    flat = (x if layout is None else layout.still(x)).flatten(1)
    flat = flat.float() if flat.dtype in (torch.float16, torch.bfloat16) else flat
    return expand(torch.linalg.vector_norm(flat, dim=1), x)
