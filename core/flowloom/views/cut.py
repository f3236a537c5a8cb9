"""Cutting along the first dimension: a context and what follows it, or a window of a longer series."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch

from flowloom.data.base import Examples
from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom.views.base import View, leaf, part_at, plus, with_leaf, with_part

__all__ = ["Context", "Window"]


class Context(View):
    """Splits an example along its first dimension: the first entries are told, the rest is the state.

    Forecasting, continuation, and regression of some entries of a vector on others. The context is a
    condition that informs the network and can be withheld: numbers, or ids where states are tokens.

    Args:
        length: entries of the context.
        of: dotted part of a product state.
        name: of the condition.
    """

    random: ClassVar[bool] = False

    def __init__(self, length: int, of: str = "", name: str = "context") -> None:
        if length < 1:
            raise ValueError(f"length counts entries of the context from 1, got {length}")
        self.length, self.of, self.name = length, of, name

    def spec(self, spec: Spec) -> Spec:
        """The rest, with the context as a condition."""
        whole = leaf(spec, self.of, "context")
        rest = _shortened(spec, self.of, "context", whole.shape[0] - self.length if whole.shape else 0)
        told = Condition(whole.vocab, (self.length, *whole.shape[1:]))
        return plus(rest, "context", **{self.name: told})

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """The rest of every row, and its context."""
        x = part_at(examples.x, self.of)
        cond = {**examples.cond, self.name: x[:, : self.length]}
        return Examples(with_part(examples.x, self.of, x[:, self.length :]), cond)


class Window(View):
    """A random stretch of every example along its first dimension: many short examples out of long series.

    Args:
        length: of the stretch.
        of: dotted part of a product state.
    """

    def __init__(self, length: int, of: str = "") -> None:
        if length < 1:
            raise ValueError(f"length of a window must be at least 1, got {length}")
        self.length, self.of = length, of

    def spec(self, spec: Spec) -> Spec:
        """Of that length."""
        whole = leaf(spec, self.of, "window")
        if whole.shape and whole.shape[0] < self.length:
            raise IncompatibleError(
                f"view window of length {self.length}: examples have {whole.shape[0]} entries"
            )
        return _shortened(spec, self.of, "window", self.length if whole.shape else 0)

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """A stretch of every row."""
        x = part_at(examples.x, self.of)
        n, length = x.shape[:2]
        starts = torch.randint(length - self.length + 1, (n, 1), generator=generator)
        rows, places = torch.arange(n)[:, None], starts + torch.arange(self.length)
        return Examples(with_part(examples.x, self.of, x[rows, places]), examples.cond)


def _shortened(spec: Spec, of: str, who: str, length: int) -> Spec:
    """The spec with the part of another length."""
    whole = leaf(spec, of, who)
    if not whole.shape or length < 1:
        raise IncompatibleError(
            f"view {who} leaves nothing of examples of shape {tuple(whole.shape)}; take fewer entries"
        )
    for name, condition in spec.conditions.items():
        if condition.role not in ("inform", "setting", "judged") and of in condition.parts():
            raise IncompatibleError(
                f"view {who} cuts whole examples, and condition '{name}' ({condition.role}) speaks of their "
                "entries; put the view before the one that marks them"
            )
    cut = replace(whole, shape=(length, *whole.shape[1:]), conditions={})
    bare = with_leaf(replace(spec, conditions={}), of, cut)
    return replace(bare, conditions=spec.conditions)
