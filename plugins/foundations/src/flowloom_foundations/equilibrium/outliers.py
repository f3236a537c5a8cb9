"""Telling data from what is no data by the landscape alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields.base import time_tensor
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom.state import Cond, State, map_state
from flowloom_foundations.equilibrium.field import GRADIENT
from flowloom_foundations.equilibrium.objective import EquilibriumMatching

__all__ = ["OutOfDistribution", "auroc"]


def auroc(inside: Tensor, outside: Tensor) -> float:
    """Probability that a value of ``outside`` exceeds one of ``inside``, ties counting one half; NaN of NaN.

    Args:
        inside: values ``(n,)`` of what should be low.
        outside: values ``(m,)`` of what should be high.
    """
    if bool(inside.isnan().any()) or bool(outside.isnan().any()):
        return math.nan
    low, values = inside.double().sort().values, outside.double()
    below = torch.searchsorted(low, values, right=False) + torch.searchsorted(low, values, right=True)
    return float(below.double().mean() / (2 * len(low)))


class OutOfDistribution(Score):
    r"""How well the landscape tells examples from points of a box (2510.02300, section 4.3): AUROC.

    By :math:`\|\nabla E(x)\|`, which vanishes at data, or by E itself, which is low there. Points are uniform
    in the box, under the conditions of the examples; those that fall among the data count as outside, so a
    perfect landscape stays below 1. One half is chance.

    Args:
        by: ``gradient``, or ``energy`` for a landscape that is spelled out (dot, norm).
        low: lower end of every entry.
        high: upper end of every entry.
        batch: examples at a time.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"auroc": "higher"}

    def __init__(
        self,
        by: Literal["gradient", "energy"] = "gradient",
        low: float = -3.0,
        high: float = 3.0,
        batch: int = 1024,
    ) -> None:
        if not -math.inf < low < high < math.inf or batch < 1:
            raise ValueError(f"low must be below high and batch at least 1, got {low}, {high} and {batch}")
        self.by, self.low, self.high, self.batch = by, low, high, batch

    def require(self, flow: Flow) -> None:
        """Ask for a landscape on a flat space, and for its energy where that is to tell."""
        objective = flow.objective
        if not isinstance(objective, EquilibriumMatching) or not flow.geometry.straight:
            raise IncompatibleError(
                "score out-of-distribution: the flow has no landscape over a flat space; use "
                f"objective: equilibrium, not {type(objective).__name__}"
            )
        if self.by == "energy" and objective.form is None:
            raise IncompatibleError(
                "score out-of-distribution by energy: only the gradient of this landscape is known; use "
                "by: gradient, or objective: {use: equilibrium, landscape: dot}"
            )

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``auroc`` of examples against as many points of the box."""
        self.require(flow)
        if not len(examples):
            raise ShapeError("score out-of-distribution: there is no example to score")
        draws = torch.Generator().manual_seed(seed)

        def anywhere(v: Tensor) -> Tensor:
            u = torch.rand(v.shape, generator=draws, dtype=torch.float64)
            return (self.low + (self.high - self.low) * u).to(v)

        box = map_state(anywhere, examples.x)
        with flow.evaluating():
            inside, outside = (self._values(flow, x, examples.cond) for x in (examples.x, box))
        return {"auroc": auroc(inside, outside)}

    def _values(self, flow: Flow, x: State, cond: Cond) -> Tensor:
        rows: Any = Examples(x, cond)
        found = [self._of(flow, rows.take(some)) for some in torch.arange(len(rows)).split(self.batch)]
        return torch.cat(found)

    def _of(self, flow: Flow, part: Examples) -> Tensor:
        x, layout = part.x, flow.layout(part.cond)
        if layout is not None:
            x = layout.fill(x)
        if self.by == "energy":
            assert isinstance(flow.objective, EquilibriumMatching)
            energy = flow.objective.energy(flow.model)
            assert energy is not None
            return energy(x, part.cond)
        field = flow.field()
        assert field.kind == GRADIENT
        gradient = field(x, time_tensor(0.0, x), part.cond)
        size: Tensor = flow.geometry.norm(x, gradient if layout is None else layout.still(gradient))
        return size
