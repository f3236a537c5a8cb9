"""A law for latents: five modes on a circle, turned into more dimensions."""

from __future__ import annotations

import math

import torch

from flowloom.data import Drawn, Examples
from flowloom.spec import Spec


class ModesInSpace(Drawn):
    """Gaussians at the corners of a regular polygon, in a fixed random plane through the origin.

    Args:
        n: examples in every split.
        seed: of the draws; the plane is the same for all.
        dim: of the space.
        modes: number of corners; one for a Gaussian at the origin.
        radius: of the circle.
        std: of a mode in every direction.
    """

    def __init__(
        self,
        n: int = 20_000,
        seed: int = 0,
        dim: int = 8,
        modes: int = 5,
        radius: float = 2.0,
        std: float = 0.35,
    ) -> None:
        super().__init__(n, seed)
        if dim < 2 or modes < 1:
            raise ValueError(f"dim from 2 and modes from 1, got {dim} and {modes}")
        self.dim, self.modes, self.radius, self.std = dim, modes, radius if modes > 1 else 0.0, std

    @property
    def spec(self) -> Spec:
        """Vectors of shape ``(dim,)``."""
        return Spec(shape=(self.dim,))

    @property
    def centres(self) -> torch.Tensor:
        """Of the modes, ``(modes, dim)``."""
        angle = torch.arange(self.modes) * (2 * math.pi / self.modes)
        corners = self.radius * torch.stack([angle.cos(), angle.sin()], 1)
        plane = torch.randn(self.dim, 2, generator=torch.Generator().manual_seed(0))
        return corners @ torch.linalg.qr(plane).Q.T

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Points."""
        mode = torch.randint(self.modes, (n,), generator=generator)
        return Examples(self.centres[mode] + self.std * torch.randn(n, self.dim, generator=generator))
