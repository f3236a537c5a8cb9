"""The unit square, walked in arcs (2301.12594, section 5.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from flowloom.draw import Draw
from flowloom.energies import Energy, require_energy
from flowloom.spec import Spec
from flowloom_gflownets.continuous.base import ContinuousEnvironment
from flowloom_gflownets.continuous.mixtures import BetaMixture
from flowloom_gflownets.trajectories import Trajectories

QUARTER = math.pi / 2


@dataclass(frozen=True)
class _Said:
    """The three parts of the forward kernel: logit of stopping, law of arcs, law of the first move."""

    stop: Tensor
    arc: BetaMixture
    first: BetaMixture


class BoxArcs(ContinuousEnvironment):
    r"""From the corner 0 into the quarter disk of radius ``reach``, then along arcs of it, to anywhere.

    A move from s goes to :math:`s + \delta (\cos\theta, \sin\theta)` with :math:`\theta` in the part of
    :math:`[0, \pi/2]` that stays in the square, or the walk stops. Where no angle is left, within delta of
    the far corner, it must stop. Angles forwards and backwards are measured by the same :math:`d\theta`, the
    first move by area; its way back is certain, and no other move arrives in that quarter disk. Densities
    are Beta mixtures of the angle as a share of what is left, divided by what is left.

    Args:
        energy: minus log R on the square.
        reach: delta.
        components: of the mixtures of arcs.
        first: components of the mixture of first moves.
        low: smallest parameter of a Beta law.
        high: largest.
    """

    def __init__(
        self,
        energy: Energy,
        reach: float = 0.25,
        components: int = 2,
        first: int = 4,
        low: float = 0.5,
        high: float = 5.0,
    ) -> None:
        super().__init__(energy)
        if not 0 < reach < 1 or min(components, first) < 1 or not 0 < low < high:
            raise ValueError(
                f"arcs have 0 < reach < 1, components from 1 and 0 < low < high, got {reach}, {components}, "
                f"{first}, {low} and {high}"
            )
        self.reach, self.components, self.first, self.low, self.high = reach, components, first, low, high
        self.spec = Spec((2,), limits=(0.0, 1.0))
        require_energy(energy, self.spec, "environment box-arcs")
        self.heads = (1 + 3 * components + 5 * first, 3 * components)

    def features(self, x: Tensor) -> Tensor:
        """Coordinates about the middle."""
        return 2 * x - 1

    def plain(self) -> Tensor:
        """Uniform directions, and walks that stop after half a dozen arcs."""
        one = math.log((1 - self.low) / (self.high - 1)) if self.low < 1 < self.high else 0.0
        parts = [self._even(self.components, 1, one), self._even(self.first, 2, one)]
        return torch.cat([torch.tensor([-1.5]), *parts, parts[0]])

    @staticmethod
    def _even(k: int, dims: int, shape: float) -> Tensor:
        return torch.cat([torch.zeros(k), torch.full((2 * dims * k,), shape)])

    def ahead(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The angles that stay in the square, from the lowest to the highest; none where they cross."""
        return _angles(((1 - x.double()) / self.reach).clamp(0, 1))

    def behind(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The angles under which an arc may have arrived."""
        return _angles((x.double() / self.reach).clamp(0, 1))

    def draw(
        self, law: Tensor, x: Tensor, number: int, epsilon: float, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Into the disk, along an arc, or stop; a share ``epsilon`` is uniform, and stops by a coin."""
        said, draw = self._said(law), Draw.like(x, generator)
        radius: Tensor | float = self.reach
        if number == 0:
            share = said.first.sample(generator)
            if epsilon:
                share = torch.where(draw.uniform((len(x), 1)) < epsilon, draw.uniform((len(x), 2)), share)
            radius, angle = self.reach * share[:, 0], QUARTER * share[:, 1]
            stops = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        else:
            low, high = self.ahead(x)
            share, coin = said.arc.sample(generator)[:, 0], said.stop.sigmoid()
            if epsilon:
                explores = draw.uniform((len(x),)) < epsilon
                share = torch.where(explores, draw.uniform((len(x),)), share)
                coin = torch.where(explores, 0.5, coin)
            stops, angle = (draw.uniform((len(x),)) < coin) | (high <= low), low + (high - low) * share
        step = radius * torch.stack([angle.cos(), angle.sin()])
        after = (x + step.T.to(x)).clamp(0, 1)
        return stops.long(), torch.where(stops[:, None], x, after)

    def log_forward(self, said: Tensor, walks: Trajectories) -> Tensor:
        """Of first moves by area, of arcs by angle, of stops a probability."""
        parts, (low, high) = self._said(said), self.ahead(walks.x)
        radius, angle = _polar(walks.after - walks.x)
        share = torch.stack([radius / self.reach, angle / QUARTER], -1)
        first = parts.first.log_prob(share) - (self.reach * QUARTER * radius.clamp_min(1e-12)).log()
        left = (high - low).clamp_min(1e-9)
        arc = parts.arc.log_prob(((angle - low) / left)[:, None]) - left.log() + logsigmoid(-parts.stop)
        stops = torch.where(high <= low, 0.0, logsigmoid(parts.stop).double())
        moved = torch.where(walks.number == 0, first, arc)
        return torch.where(walks.action == self.stop, stops, moved).to(said)

    def log_backward(self, said: Tensor | None, walks: Trajectories) -> Tensor:
        """Of arcs by angle; certain for first moves and stops."""
        low, high = self.behind(walks.after)
        left = (high - low).clamp_min(1e-9)
        back = -left.log()
        if said is not None:
            _, angle = _polar(walks.after - walks.x)
            law = BetaMixture(said, self.components, self.low, self.high)
            back = back + law.log_prob(((angle - low) / left)[:, None])
        certain = (walks.number == 0) | (walks.action == self.stop)
        return torch.where(certain, 0.0, back).to(walks.x)

    def _said(self, law: Tensor) -> _Said:
        stop, arc, first = law.split([1, 3 * self.components, 5 * self.first], -1)
        limits = self.low, self.high
        return _Said(
            stop[:, 0], BetaMixture(arc, self.components, *limits), BetaMixture(first, self.first, *limits)
        )


def _angles(room: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest angle of a unit arc in the corner of rectangles with sides ``(n, 2)``, at most 1."""
    return room[:, 0].acos(), room[:, 1].asin()


def _polar(step: Tensor) -> tuple[Tensor, Tensor]:
    step = step.double()
    return step.norm(dim=-1), torch.atan2(step[:, 1], step[:, 0])
