"""Annealed Langevin steps between the steps of the flow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch

from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.solvers.base import FixedGrid
from flowloom.solvers.walk import Call
from flowloom.state import State, axpy, map_state

__all__ = ["AnnealedLangevin"]


class AnnealedLangevin(FixedGrid):
    r"""Euler steps, with K unadjusted Langevin steps at every level (Du et al. 2302.11552, algorithm 1).

    .. math:: x \leftarrow x + \epsilon\, s(x, t) + \sqrt{2 \epsilon}\; n, \qquad
              \epsilon = \mathrm{size}\; (s_0 \sigma_t)^2

    with s the score that the (guided) velocity implies and s_0 the deviation of the source. Where that score
    is the one of no noised law, as of compositions, the levels of the walk are those of an annealed chain
    whose
    last law is right. A score alone tells no energy difference, so that nothing is accepted or rejected.

    Args:
        steps: number of equal steps.
        grid: times to walk instead.
        corrections: K; 0 is Euler's method.
        size: of a Langevin step, in variances of the level's noise.
    """

    stochastic: ClassVar[bool] = True

    def __init__(
        self, steps: int = 100, grid: Sequence[float] | None = None, corrections: int = 10, size: float = 0.1
    ) -> None:
        super().__init__(steps, grid)
        if corrections < 0 or not size > 0:
            raise ValueError(f"corrections count from 0 and size is positive, got {corrections} and {size}")
        self.corrections, self.size = corrections, size

    @property
    def evaluations_per_step(self) -> int:
        """One of the step, and one of every correction."""
        return 1 + self.corrections

    def prepare(self, field: Field) -> Field:
        """The field as a velocity that implies a score.

        Raises:
            IncompatibleError: it implies none.
        """
        path = field.path
        if path is None or path.schedule is None or not path.converts("velocity", "score", field.source):
            raise IncompatibleError("annealed-langevin needs scores: path: affine with source: gaussian")
        return super().prepare(field)

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """Corrections at the level of ``t``, then a step to the next."""
        path, source = call.field.path, call.field.source
        assert path is not None
        assert path.schedule is not None
        assert source is not None
        sigma = float(path.schedule.sigma(torch.tensor(t, dtype=torch.float64))) * (source.std or 1.0)
        size = self.size * sigma**2
        for _ in range(self.corrections):
            velocity = call(x, t)
            score = path.convert(velocity, x, _times(t, x), "velocity", "score", source)
            x = map_state(
                lambda a, s: (
                    a
                    + size * s
                    + math.sqrt(2 * size)
                    * torch.randn(a.shape, generator=call.generator, device=a.device, dtype=a.dtype)
                ),
                x,
                score,
            )
        return axpy(x, t_next - t, call(x, t))


def _times(t: float, x: State) -> State:
    return map_state(lambda leaf: leaf.new_full((len(leaf),), t), x)
