"""How close a learned map is to the cheapest one between the same points."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom.state import take

__all__ = ["TransportCost", "assignment_cost"]


def assignment_cost(x: Tensor, y: Tensor) -> float:
    """Least mean squared distance of any pairing of two sets of points ``(n, *event)``: exact assignment."""
    from scipy.optimize import linear_sum_assignment

    costs = torch.cdist(x.flatten(1).double(), y.flatten(1).double()).square().cpu().numpy()
    rows, columns = linear_sum_assignment(costs)
    return float(costs[rows, columns].mean())


class TransportCost(Score):
    """The mean squared way from noise to sample, and its ratio to the cheapest pairing of the same points.

    ``transport_ratio`` is 1 for an optimal map and larger for any other, however good its samples are.
    Entries that are padding or given do not count.

    Args:
        n: points; the assignment costs n^3.
    """

    better: ClassVar[dict[str, Literal["lower", "higher"]]] = {
        "transport_ratio": "lower",
        "transport_cost": "lower",
    }

    def __init__(self, n: int = 800) -> None:
        if n < 2:
            raise ValueError(f"n must be at least 2, got {n}")
        self.n = n

    def require(self, flow: Flow) -> None:
        """States must be flat.

        Raises:
            IncompatibleError: they are not.
        """
        if not flow.geometry.straight:
            raise IncompatibleError(f"transport-cost measures |y - x|^2, and {flow.geometry} is not flat")

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """Score as many examples as there are, ``n`` at most: their number and their conditions are used."""
        rows = examples.evenly(self.n)
        cond = {name: value[rows] for name, value in examples.cond.items()}
        some = Examples(take(examples.x, rows), cond)
        start = flow.start_for(some, torch.Generator().manual_seed(seed))
        end = flow.solve(x0=start, cond=cond, seed=seed).x
        if not isinstance(start, Tensor) or not isinstance(end, Tensor):
            raise IncompatibleError("transport-cost measures one tensor, and the state has parts")
        if (layout := flow.layout(cond)) is not None:
            start, end = layout.still(start), layout.still(end)
        cost = float((end - start).flatten(1).double().square().sum(1).mean())
        return {"transport_ratio": cost / assignment_cost(start, end), "transport_cost": cost}
