"""Augmentation of ways in the plane."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.spec import Spec
from flowloom.views import View
from flowloom_trajectories.turned import turned

__all__ = ["Turn"]


class Turn(View):
    """Turns a way and all that is told of it by one random angle, and mirrors half of them.

    Points are the first two numbers along the last dimension; what follows them stays. With ``stretch`` s
    all of them are also multiplied by one factor between 1 / s and s, evenly on a logarithmic scale: people
    of another scene may walk faster than all who were seen.

    Args:
        points: conditions that hold points; names that the data lack are left out.
        mirror: whether half of the rows are mirrored.
        stretch: largest factor, 1 for none.

    Raises:
        ValueError: ``stretch`` is below 1.
    """

    augments: ClassVar[bool] = True

    def __init__(
        self,
        points: tuple[str, ...] = ("past", "neighbours"),
        mirror: bool = True,
        stretch: float = 1.0,
    ) -> None:
        if not 1 <= stretch < math.inf:
            raise ValueError(f"stretch is a factor of at least 1, got {stretch}")
        self.points, self.mirror, self.stretch = tuple(points), mirror, stretch

    def spec(self, spec: Spec) -> Spec:
        """As before."""
        if spec.parts or spec.vocab is not None or not spec.shape or spec.shape[-1] != 2:
            raise IncompatibleError("view turn turns ways of points in the plane, (steps, 2)")
        for name in self.points:
            told = spec.conditions.get(name)
            if told is not None and (not told.shape or told.shape[-1] < 2 or told.classes is not None):
                raise IncompatibleError(
                    f"view turn: condition '{name}' of shape {told.shape} holds no points"
                )
        return spec

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """Turned rows."""
        assert isinstance(examples.x, Tensor)
        n = len(examples)
        angle = 2 * math.pi * torch.rand(n, generator=generator)
        side = torch.ones(n)
        if self.mirror:
            side = 1 - 2 * (torch.rand(n, generator=generator) < 0.5).float()
        turn = torch.stack(
            [
                torch.stack([angle.cos(), angle.sin()], -1),
                torch.stack([-side * angle.sin(), side * angle.cos()], -1),
            ],
            1,
        )
        if self.stretch > 1:
            factor = self.stretch ** (2 * torch.rand(n, generator=generator) - 1)
            turn = turn * factor[:, None, None]
        cond = dict(examples.cond)
        for name in self.points:
            if name in cond:
                cond[name] = turned(cond[name], turn)
        return Examples(turned(examples.x, turn), cond)
