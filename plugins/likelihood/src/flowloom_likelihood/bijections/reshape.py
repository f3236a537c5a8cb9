"""A bijection of vectors for states of any shape."""

from __future__ import annotations

from torch import Tensor

from flowloom.state import Cond
from flowloom_likelihood.bijections.base import Bijection, Image


class Flattened(Bijection):
    """A bijection of vectors ``(batch, D)``, of states of any shape.

    Args:
        net: of vectors.
    """

    def __init__(self, net: Bijection) -> None:
        super().__init__()
        self.net = net

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Of the entries as a vector."""
        z, log_det = self.net.transform(x.flatten(1), cond)
        return z.reshape(x.shape), log_det

    def unnormalised(self, x: Tensor, cond: Cond) -> Image:
        """Of the entries as a vector."""
        z, log_det = self.net.unnormalised(x.flatten(1), cond)
        return z.reshape(x.shape), log_det

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Of the entries as a vector."""
        return self.net.inverse(z.flatten(1), cond).reshape(z.shape)
