"""Two clusters in many dimensions."""

from __future__ import annotations

import torch

from flowloom.data import Drawn, Examples
from flowloom.spec import Spec


class TwoClusters(Drawn):
    r""":math:`x = s\mu + \sigma z` with :math:`s = \pm 1` and :math:`\mu = (1, \dots, 1)` (2310.03575).

    The direction of :math:`\mu` is no restriction, as noise and clusters are round.

    Args:
        n: examples in every split: few.
        seed: of the draws.
        dim: d.
        sigma: :math:`\sigma`.
    """

    def __init__(self, n: int = 8, seed: int = 0, dim: int = 2000, sigma: float = 0.3) -> None:
        super().__init__(n, seed)
        self.dim, self.sigma = dim, sigma

    @property
    def spec(self) -> Spec:
        """Vectors of shape ``(dim,)``."""
        return Spec(shape=(self.dim,))

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Points of both clusters."""
        side = 2.0 * torch.randint(2, (n, 1), generator=generator) - 1
        return Examples(side + self.sigma * torch.randn(n, self.dim, generator=generator))
