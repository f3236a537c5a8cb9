"""Euler steps on the simplex that finish with the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.geometry import Euclidean
from flowloom.solvers import FixedGrid
from flowloom.solvers.categorical import draw
from flowloom.solvers.walk import Call, require_finite
from flowloom.state import State
from flowloom_sequences.simplex.geometry import FlatSimplex


class SimplexEuler(FixedGrid):
    """Follows the velocity of a posterior over vertices, and ends on a vertex.

    Serves every path that ends on vertices: Dirichlet, and affine paths from Dirichlet or Gaussian noise
    (linear simplex flow matching, CatFlow). Steps are projected back onto a simplex geometry. The last step
    replaces velocity by prediction: near t = 1 the posterior knows the token.

    Any ODE solver integrates the same field (a posterior is read as a velocity); this one is for ending on
    tokens.

    Args:
        steps: number of equal steps.
        grid: times to walk instead.
        temperature: divides the logits; below 1 sharpens.
        finish: ``draw`` ends on a draw of the posterior, which keeps the law where tokens are still in doubt
            (a Dirichlet path at concentration 8 and a large alphabet); ``argmax`` on the likeliest token (the
            papers' choice), ``mean`` on the posterior itself; ``step`` makes the last step like all others.
    """

    consumes = "posterior"
    order = 1

    def __init__(
        self,
        steps: int = 100,
        grid: Sequence[float] | None = None,
        temperature: float = 1.0,
        finish: Literal["argmax", "draw", "mean", "step"] = "draw",
    ) -> None:
        super().__init__(steps, grid)
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature, self.finish = temperature, finish
        self.stochastic = finish == "draw"  # type: ignore[misc]

    def prepare(self, field: Field) -> Field:
        """The posterior field; checks its path."""
        if field.path is None or not field.path.converts("posterior", "velocity"):
            name = type(field.path).__name__
            raise IncompatibleError(
                f"simplex-euler needs a path that ends on vertices (path: dirichlet or affine), got {name}"
            )
        return super().prepare(field)

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One step with one network evaluation."""
        field = call.field
        logits = call(x, t)
        assert isinstance(logits, Tensor) and isinstance(x, Tensor) and field.path is not None
        return self._move(logits, x, field, t, t_next, last, call.generator)

    def _move(
        self,
        logits: Tensor,
        x: Tensor,
        field: Field,
        t: float,
        t_next: float,
        last: bool,
        generator: torch.Generator | None,
    ) -> Tensor:
        if last and self.finish != "step":
            require_finite(logits, t, "the posterior")
            if self.finish == "mean":
                return torch.softmax(logits / self.temperature, -1)
            drawing = self.finish == "draw"
            chosen = draw(logits, self.temperature, generator) if drawing else logits.argmax(-1)
            return F.one_hot(chosen, logits.shape[-1]).to(x.dtype)
        assert field.path is not None
        cooled = logits if self.temperature == 1 else logits / self.temperature
        velocity = field.path.convert(cooled, x, x.new_full((len(x),), t), "posterior", "velocity")
        assert isinstance(velocity, Tensor)
        moved = torch.add(x, velocity, alpha=t_next - t)
        if isinstance(field.geometry, Euclidean) and not isinstance(field.geometry, FlatSimplex):
            return moved
        # The velocity sums to 0, so clamping and rescaling mends what overshoot and rounding there is.
        moved = moved.clamp_min(0)
        return moved / moved.sum(-1, keepdim=True)
