"""Flows that stand still: samples are what the source draws, and densities its own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.draw import GLOBAL, Draw
from flowloom.layout import Layout
from flowloom.solvers import Dopri5
from flowloom.sources import Gaussian, Source
from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom.trained import Trained

__all__ = ["Diluted", "Still"]


class Still(nn.Module):
    """A velocity of 0: nothing moves, and nothing is learned.

    Args:
        spec: of the states; injected from the recipe.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, x: Tensor, t: Tensor, /, **cond: Any) -> Tensor:
        """Zeros."""
        return torch.zeros_like(x)


class Diluted(nn.Module, Source):
    r"""A trained flow diluted with noise: :math:`p = a\, q + (1 - a)\, N(0, s^2 I)` (1511.01844).

    :math:`\log p \geq \log q + \log a`: at a = 0.01 it costs at most 4.6 nats a state, however many
    dimensions there are, and 99 of a hundred samples are noise.

    Args:
        run: q.
        share: a.
        std: s.
    """

    def __init__(self, run: Trained, share: float = 0.01, std: float = 3.0) -> None:
        if not 0 < share <= 1 or not 0 < std < math.inf:
            raise ValueError(f"share lies in (0, 1] and std is positive, got {share} and {std}")
        super().__init__()
        self.run, self.share, self.rest = run, share, Gaussian(std)

    @property
    def density_gap(self) -> str:
        """That of the flow, which tells its own density or has its source's."""
        return "" if self.run.field().has_density else self.run.flow.source.density_gap

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """Each row of one of the two laws."""
        noise = self.rest.noise(shape, draw)
        mine = draw.uniform((shape[0],)) < self.share
        seed = int(draw.integers(2**31, (1,)))
        count = int(mine.sum())
        if count:
            with torch.no_grad(), self.run.flow.evaluating():
                given = {name: value[mine] for name, value in self._told(cond).items()}
                x = self.run.flow.solve(count, seed=seed, cond=given).x
            assert isinstance(x, Tensor)
            noise[mine] = x.to(noise)
        return noise

    def log_prob(self, x: Any, cond: Cond | None = None, layout: Layout | None = None) -> Tensor:
        """The log of the sum of both."""
        flow = self.run.flow
        if not len(x):
            return x.new_zeros(0)
        given: dict[str, Any] = {**self._told(cond)}
        exact = Dopri5(1e-5, 1e-5)  # as the score's own; the flow's solver is for samples
        own = flow.log_prob(x.to(flow.dtype), solver=exact, **given).to(x) + math.log(self.share)
        rest = self.rest.log_prob(x, cond, layout)
        if self.share == 1:
            return own
        return torch.logaddexp(own, rest + math.log1p(-self.share))

    def _told(self, cond: Cond | None) -> Cond:
        """What of the conditions the flow knows."""
        known = self.run.flow.known_conditions()
        return {name: value for name, value in (cond or {}).items() if name in known}
