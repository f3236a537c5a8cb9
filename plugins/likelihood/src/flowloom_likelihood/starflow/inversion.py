"""How well a solver inverts a bijection."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom.seeds import generator as generator_of
from flowloom.solvers import Solver
from flowloom_likelihood.field import BijectionField
from flowloom_likelihood.solver import Push


class Inversion(Score):
    r"""Error and cost of the recipe's solver, beside the inverse token by token.

    * ``inversion_error``: :math:`\|x - \hat x\| / \|x\|` over all examples, x the exact inverse of noise,
      before any denoising.
    * ``round_trip``: largest :math:`|f(f^{-1}(z)) - z|` of the exact inverse.

    Args:
        rows: examples whose conditions are taken, at most.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {
        "inversion_error": "lower",
        "round_trip": "lower",
    }

    def __init__(self, rows: int = 256) -> None:
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        self.rows = rows

    def require(self, flow: Flow) -> None:
        """Ask for a bijection."""
        if not isinstance(flow.field(), BijectionField):
            raise IncompatibleError("score inversion is of bijections, such as starflow and glow")

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """Both errors."""
        self.require(flow)
        if len(examples) == 0:
            raise ShapeError("score inversion: there is no example to score")
        some = examples.take(examples.evenly(self.rows))
        draws = generator_of(seed, "inversion", 0, flow.device)
        z, field = flow.start_for(some, draws), flow.field()
        assert isinstance(z, Tensor) and isinstance(field, BijectionField)
        with flow.evaluating():
            exact = field(z, None, some.cond)
            found = _plain(flow.solver).solve(field, z, cond=some.cond).x
            assert isinstance(exact, Tensor) and isinstance(found, Tensor)
            back = field.pull(exact, some.cond)[0]
        return {
            "inversion_error": float((found - exact).norm() / exact.norm()),
            "round_trip": float((back - z).abs().max()),
        }


def _plain(solver: Solver) -> Solver:
    """The solver without what it does to samples afterwards."""
    found = copy.copy(solver)
    if isinstance(found, Push):
        found.denoise = False
    return found
