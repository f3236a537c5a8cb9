"""Models that are a composition of layers, and nothing besides."""

from __future__ import annotations

from torch import Tensor

from flowloom.state import Cond
from flowloom_likelihood.bijections import Bijection, Image


class Composed(Bijection):
    """A whole bijection that is the one in ``net``, of states to latents of the same shape."""

    net: Bijection

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """States to latents."""
        return self.net.transform(x, cond)

    def unnormalised(self, x: Tensor, cond: Cond) -> Image:
        """Without the determinants of linear layers and normalisations."""
        return self.net.unnormalised(x, cond)

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Latents to states."""
        return self.net.inverse(z, cond)

    def initialise(self, x: Tensor, cond: Cond) -> Tensor:
        """Every layer on what comes before it makes of ``x``."""
        return self.net.initialise(x, cond)
