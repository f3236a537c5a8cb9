"""Auto-guidance: away from a weaker version of the same model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from flowloom.clashes import Clash, Parts
from flowloom.fields import Field, Wrapped, read_as
from flowloom.fields.base import evaluate
from flowloom.guidance import Guidance, comparable, mixed
from flowloom.paths import Path, another_way
from flowloom.spec import Spec
from flowloom.state import Cond, State
from flowloom.trained import Trained

__all__ = ["AutoGuidance"]


class AutoGuidance(Guidance, nn.Module):
    r"""Guide by a bad version of the model (Karras et al. 2406.02507): :math:`v = w\, v_1 + (1 - w)\, v_0`.

    The weaker model, smaller or less trained, makes the same mistakes, only larger; both are told the
    conditions, so that quality rises without less variety. Posteriors are mixed as log probabilities.

    Args:
        weak: the weaker model, of the same states.
        weight: w; 1 is the field itself.
    """

    def __init__(self, weak: Trained, weight: float = 2.0) -> None:
        nn.Module.__init__(self)
        if not math.isfinite(weight):
            raise ValueError(f"weight must be finite, got {weight}")
        self.weak, self.weight = weak, weight

    def __call__(self, field: Field) -> Field:
        """The guided field."""
        return _Guided(field, read_as(self.weak.field(), field.kind), self.weight)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A weaker model of other states, or of another path: times would not mean the same to both."""
        spec, own, path = parts.get("spec"), self.weak.spec, parts.get("path")
        if isinstance(spec, Spec) and spec.event_shape() != own.event_shape():
            message = f"the weaker model knows states of shape {own.event_shape()}, and these are"
            yield Clash(
                "guidance", "data", f"{message} {spec.event_shape()}; train it with the same data and codec"
            )
        if isinstance(path, Path) and (other := another_way(self.weak.flow.path, path)):
            message = f"the weaker model was trained on points of {other}; train it on the same path"
            yield Clash("guidance", "path", message)


class _Guided(Wrapped):
    def __init__(self, field: Field, weak: Field, weight: float) -> None:
        super().__init__(field)
        self.weak, self.weight = weak, weight
        self.stochastic = field.stochastic or weak.stochastic
        self.jvp_safe = field.jvp_safe and weak.jvp_safe
        self.batch_independent = field.batch_independent and weak.batch_independent

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """One call of each network."""
        strong = self.ask(x, t, cond, generator)
        if self.weight == 1:
            return strong
        weak = evaluate(self.weak, x, t, cond, generator)
        return mixed(comparable(weak, self.kind), comparable(strong, self.kind), self.weight, self.kind)

    def calls(self, t: float, cond: Cond) -> int:
        """Those of both."""
        return self.field.calls(t, cond) + (self.weak.calls(t, cond) if self.weight != 1 else 0)
