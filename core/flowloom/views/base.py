"""The view contract: examples in, examples out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from flowloom.data.base import Examples
from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec

__all__ = ["View", "spec_through", "through"]


class View(ABC):
    """What is made of rows of data before anything is learned or asked: masks, crops, splits, degradations.

    Views stand before the codec and know nothing of the network. In training each batch is drawn by a generator
    that belongs to (seed, batch), in judging each row by one that belongs to (seed, row): a question is then
    the same whenever it is asked.

    A view returns as many rows, in their order, with every condition that it does not change; it never writes
    into what it is given, and never draws from the global generator.

    Attributes:
        random: False where it draws nothing.
        augments: True where it only makes further examples of the same law (a flip): it leaves the spec as it
            is, and is left out where the flow is judged.
    """

    random: ClassVar[bool] = True
    augments: ClassVar[bool] = False

    @abstractmethod
    def spec(self, spec: Spec) -> Spec:
        """What examples are afterwards.

        Args:
            spec: what they are before.

        Raises:
            IncompatibleError: the view cannot be taken of such examples; says what would fit.
        """

    @abstractmethod
    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """The view of some rows.

        Args:
            examples: rows on the CPU, as the data set or the view before gives them, with the layout that their
                spec announces; that of what is returned is made anew.
            generator: on the CPU, of everything drawn.
        """


def spec_through(views: Sequence[View], spec: Spec) -> Spec:
    """The spec after all views, in order."""
    for view in views:
        spec = view.spec(spec)
    return spec


def through(views: Sequence[View], examples: Examples, spec: Spec, generator: torch.Generator) -> Examples:
    """Examples after all views, in order.

    Args:
        views: what is done.
        examples: rows.
        spec: of the rows.
        generator: on the CPU, of everything drawn.
    """
    for view in views:
        seen = view(examples.laid_out(spec), generator)
        spec, examples = view.spec(spec), Examples(seen.x, seen.cond)
    return examples


def leaf(spec: Spec, of: str, who: str) -> Spec:
    """The spec of the part that a view speaks of, which is one tensor.

    Args:
        spec: of the examples.
        of: dotted name of the part, empty for a state without parts.
        who: the view, for the message.

    Raises:
        IncompatibleError: there is no such part.
    """
    parts = dict(spec.leaves())
    if of not in parts:
        what = f"part '{of}'" if of else "a state that is one tensor"
        have = f"parts: {', '.join(parts)}" if spec.parts else "one tensor; leave out 'of'"
        raise IncompatibleError(f"view {who} is of {what}; the state here has {have}")
    return parts[of]


def with_leaf(spec: Spec, of: str, new: Spec) -> Spec:
    """The spec with another one at a dotted part; conditions stay those of the whole."""
    if not of:
        return replace(new, conditions=spec.conditions)
    head, _, rest = of.partition(".")
    return replace(spec, parts={**spec.parts, head: with_leaf(spec.parts[head], rest, new)})


def part_at(x: Any, of: str) -> Any:
    """The tensor at a dotted part of a state."""
    for name in of.split(".") if of else ():
        x = x[name]
    return x


def with_part(x: Any, of: str, value: Any) -> Any:
    """The state with another tensor at a dotted part."""
    if not of:
        return value
    head, _, rest = of.partition(".")
    return {**x, head: with_part(x[head], rest, value)}


def plus(spec: Spec, who: str, **conditions: Condition) -> Spec:
    """The spec with further conditions.

    Raises:
        IncompatibleError: one of that name is there already.
    """
    for name in conditions:
        if name in spec.conditions:
            raise IncompatibleError(
                f"view {who}: there is a condition '{name}' already; give another name (name: ...)"
            )
    return spec.plus(conditions)
