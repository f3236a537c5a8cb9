"""How far a flow's samples end from where a reference leads from the same noise."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from flowloom.data import Examples
from flowloom.errors import ShapeError
from flowloom.flow import Flow
from flowloom.layout import squared_distance
from flowloom.scores import Score
from flowloom.solvers import Solver
from flowloom.state import take
from flowloom.trained import Trained

__all__ = ["EndpointDistance"]


class EndpointDistance(Score):
    r"""Distance of a flow's samples to a reference's from the same noise, under the same conditions.

    .. math:: \mathrm{rmse} = \sqrt{E\, d\big(\phi(x_0),\ \phi^{ref}(x_0)\big)^2}

    With ``of`` the reference is another flow, a teacher say, solved finely; without, it is the flow itself
    by another solver, and the figure tells how well samples of few and of more steps agree.

    Args:
        reference: the solver of the reference.
        of: whose field the reference is; the flow's own where null.
        n: noises, at most as many as there are examples.

    Raises:
        ValueError: n is less than 1.
    """

    better: ClassVar[dict[str, Literal["lower", "higher"]]] = {"endpoint_rmse": "lower"}

    def __init__(self, reference: Solver, of: Trained | None = None, n: int = 1000) -> None:
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        self.reference, self.of, self.n = reference, of, n

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``endpoint_rmse``, in units of the states."""
        if not len(examples):
            raise ShapeError("score endpoint: there is no example to score")
        rows = examples.evenly(self.n)
        cond = {name: value[rows] for name, value in examples.cond.items()}
        some = Examples(take(examples.x, rows), cond)
        start = flow.start_for(some, torch.Generator(flow.device).manual_seed(seed))
        other = flow if self.of is None else self.of.flow
        with flow.evaluating(), other.evaluating():
            end = flow.solve(x0=start, cond=cond, seed=seed).x
            # Stored starts are told by x0: the teacher of a reflow has no condition of that name.
            asked = {name: v for name, v in cond.items() if name not in flow.spec.named("start")}
            wanted = other.solve(x0=start, cond=asked, seed=seed, solver=self.reference).x
        apart = squared_distance(flow.geometry, wanted, end, flow.layout(cond))
        return {"endpoint_rmse": float(apart.double().mean().sqrt())}
