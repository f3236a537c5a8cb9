"""Stretches of a series are lost: dropped packets, a sensor that was off."""

from __future__ import annotations

import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom.state import expand
from flowloom.views import View
from flowloom.views.base import plus

__all__ = ["Gaps"]


class Gaps(View):
    """Gives all of a series but stretches of it, each at a place of its own in one of equal parts.

    Args:
        count: stretches, one in each of so many equal parts of the series.
        steps: of each.
        name: of the condition that marks given steps; their values are ``<name>_values``.
    """

    def __init__(self, count: int = 1, steps: int = 64, name: str = "given") -> None:
        if count < 1 or steps < 1:
            raise ValueError(f"count and steps count from 1, got {count} and {steps}")
        self.count, self.steps, self.name = count, steps, name

    def spec(self, spec: Spec) -> Spec:
        """With the two conditions."""
        room = 0 if spec.parts or not spec.shape else spec.shape[0] // self.count
        if self.steps >= room:
            raise IncompatibleError(
                f"view gaps cuts {self.count} stretches of {self.steps} steps out of a series, and these "
                f"data have the shape {spec.event_shape()}: parts of {room} steps"
            )
        marks = Condition(shape=spec.shape[:1], role="given")
        values = Condition(shape=spec.shape, role="values")
        return plus(spec, "gaps", **{self.name: marks, f"{self.name}_values": values})

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """The same series, with what is given of them."""
        x = examples.x
        assert isinstance(x, torch.Tensor)
        n, length = x.shape[:2]
        part = length // self.count
        free = torch.rand(n, self.count, generator=generator) * (part - self.steps + 1)
        start = free.floor() + part * torch.arange(self.count)
        place = torch.arange(length)
        lost = (place >= start[..., None]) & (place < start[..., None] + self.steps)
        given = ~lost.any(1)
        values = torch.where(expand(given, x), x, torch.zeros((), dtype=x.dtype))
        return Examples(x, {**examples.cond, self.name: given, f"{self.name}_values": values})
