"""Mixture paths between tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.geometry import Discrete, Geometry
from flowloom.paths.base import Path, Point
from flowloom.schedules import CondOT, Schedule, starting_at_source
from flowloom.sources import Mask, Source, Uniform
from flowloom.state import State, Time, expand, map_state


class MixturePath(Path):
    r"""Each token is x1 with probability :math:`\kappa_t = \alpha_t` and x0 otherwise, independently.

    Gat et al., "Discrete Flow Matching" (2407.15595). The forward rate of a token towards y is
    :math:`\frac{\dot\kappa_t}{1-\kappa_t} [p_{1|t}(y | x_t) - \delta_{x_t}(y)]`, the backward rate
    :math:`\frac{\dot\kappa_t}{\kappa_t} [\delta_{x_t}(y) - p_{0|t}(y | x_t)]`.

    Args:
        geometry: the discrete space; injected from the recipe where none is given.
        schedule: its alpha is kappa; only alpha is used.
        source: the law of x0, injected from the recipe. With the mask source, tokens that show anything
            but the mask have arrived, and solvers leave them alone; backward rates follow it too.
    """

    def __init__(
        self, geometry: Geometry, schedule: Schedule | None = None, source: Source | None = None
    ) -> None:
        if not isinstance(geometry, Discrete):
            raise IncompatibleError(f"path mixture needs a discrete geometry, got {geometry}")
        self.geometry = geometry
        self.vocab = geometry.vocab
        self.schedule: Schedule = starting_at_source(schedule or CondOT())
        self.source = source
        self.absorbing = isinstance(source, Mask)

    def sample(self, x0: State, x1: State, t: Time, *, generator: torch.Generator | None = None) -> Point:
        """Draw which tokens have arrived; ``velocity`` is None."""

        def mix(a: Tensor, b: Tensor, time: Tensor) -> Tensor:
            draws = torch.rand(b.shape, generator=generator, device=b.device)
            return torch.where(draws < expand(self.schedule.alpha(time), b), b, a)

        return Point(map_state(mix, x0, x1, t), t, None, x0, x1)

    def rate(self, t: Tensor) -> Tensor:
        """``kappa' / (1 - kappa)``, the rate at which waiting tokens arrive; infinite at t=1."""
        return self.schedule.d_alpha(t) / (1 - self.schedule.alpha(t)).clamp_min(0)

    def arrival(self, t: float, t_next: float) -> float:
        """Probability that a token still waiting at ``t`` has arrived by ``t_next``; 1 at t=1.

        The exact integral of `rate`: ``(kappa(t_next) - kappa(t)) / (1 - kappa(t))``.
        """
        now, then = (float(self.schedule.alpha(torch.tensor(s, dtype=torch.float64))) for s in (t, t_next))
        return min(1.0, max(0.0, (then - now) / (1 - now))) if now < 1 else 1.0

    def noise_share(self, t: float, t_next: float) -> float:
        """Share of the jumps within the step that end on a uniform token instead of x1; none here."""
        return 0.0

    def departure(self, t: float, t_next: float) -> float:
        """Probability that a token that has arrived by ``t`` has left again by ``t_next < t``; 1 at t=0.

        The exact integral of ``kappa' / kappa`` backwards: ``(kappa(t) - kappa(t_next)) / kappa(t)``.
        """
        now, then = (float(self.schedule.alpha(torch.tensor(s, dtype=torch.float64))) for s in (t, t_next))
        return min(1.0, max(0.0, (now - then) / now)) if now > 0 else 1.0

    def backward_rate(self, t: float) -> float:
        r"""The rate of leaving towards the source's law; :math:`p_{0|t}` is not learned but known.

        With a source of independent tokens of law p, a token x has arrived with probability
        :math:`\pi = p_{1|t}(x)\, \kappa / (\kappa + (1-\kappa) p(x))` and the source posterior is
        :math:`p_{0|t}(y|x) = \pi\, p(y) + (1-\pi)\delta_x(y)`. The backward rate towards y is then
        :math:`p(y)\, p_{1|t}(x)\, \dot\kappa / (\kappa + (1-\kappa) p(x))`, finite at t=0 where
        :math:`\dot\kappa/\kappa` is not. Under the mask source a token other than the mask has arrived for
        certain, and leaves for the mask at :math:`\dot\kappa/\kappa`.

        Returns:
            The rate; without the factor :math:`p_{1|t}(x)`, unless the path is absorbing and it is 1.

        Raises:
            IncompatibleError: the source's tokens are neither masks nor uniform.
        """
        at = torch.tensor(max(t, 1e-9), dtype=torch.float64)
        kappa, slope = float(self.schedule.alpha(at)), float(self.schedule.d_alpha(at))
        if self.absorbing:
            return slope / kappa if kappa > 0 else math.inf
        if isinstance(self.source, Uniform):
            return slope / (kappa + (1 - kappa) / self.vocab)
        raise IncompatibleError(
            "corrector steps go back towards the source, whose law must be known: use source: mask or "
            "uniform (in Python, also give it to the path: MixturePath(geometry, source=source))"
        )
