"""A torus, walked in a fixed number of jumps (2301.12594, section 5.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.draw import Draw
from flowloom.energies import Energy, require_energy
from flowloom.geometry import FlatTorus
from flowloom.spec import Spec
from flowloom_gflownets.continuous.base import TimedEnvironment
from flowloom_gflownets.continuous.mixtures import VonMisesMixture
from flowloom_gflownets.trajectories import Trajectories


class TorusJumps(TimedEnvironment):
    """Angles in ``[0, 2 pi)`` that jump ``steps`` times from 0, each time by a mixture of von Mises laws.

    Both kernels are densities of the jump. The way back of the first one is certain; without a network the
    others' is uniform.

    Args:
        energy: minus log R of angles ``(n, dims)``.
        dims: angles.
        steps: jumps.
        components: of each mixture.
    """

    def __init__(self, energy: Energy, dims: int = 2, steps: int = 5, components: int = 4) -> None:
        super().__init__(energy, steps)
        if dims < 1 or components < 1:
            raise ValueError(f"a torus has dims and components from 1, got {dims} and {components}")
        self.dims, self.components, self.space = dims, components, FlatTorus()
        self.spec = Spec((dims,))
        require_energy(energy, self.spec, "environment torus-jumps")
        self.heads = (components * (1 + 2 * dims),) * 2

    def plain(self) -> Tensor:
        """Jumps to anywhere."""
        one = torch.zeros(self.components, 1 + 2 * self.dims)
        one[:, 1 + self.dims :] = -4.0
        flat = torch.cat([one[:, 0], one[:, 1:].flatten()])
        return torch.cat([flat, flat])

    def features(self, x: Tensor) -> Tensor:
        """Cosines and sines."""
        return torch.cat([x.cos(), x.sin()], -1)

    def draw(
        self, law: Tensor, x: Tensor, number: int, epsilon: float, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """A jump; a share ``epsilon`` goes anywhere."""
        draw = Draw.like(x, generator)
        jump = VonMisesMixture(law, self.components).sample(draw)
        if epsilon:
            anywhere = 2 * math.pi * draw.uniform(x.shape)
            jump = torch.where(draw.uniform((len(x), 1)) < epsilon, anywhere, jump)
        return self.actions(x, number), self.space.project(x + jump)

    def log_forward(self, said: Tensor, walks: Trajectories) -> Tensor:
        """Of the jumps."""
        return VonMisesMixture(said, self.components).log_prob(walks.after - walks.x)

    def log_backward(self, said: Tensor | None, walks: Trajectories) -> Tensor:
        """Of the jumps back; certain for the first."""
        if said is None:
            back = walks.x.new_full((len(walks.x),), -self.dims * math.log(2 * math.pi))
        else:
            back = VonMisesMixture(said, self.components).log_prob(walks.x - walks.after)
        return torch.where(walks.number == 0, 0.0, back)
