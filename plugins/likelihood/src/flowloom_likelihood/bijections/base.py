"""The contract of a bijection, and bijections one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from flowloom.state import Cond

Image = tuple[Tensor, Tensor]
"""Where a bijection carries a state, and ``log |det|`` of every row, ``(batch,)``, in nats."""


class Bijection(nn.Module, ABC):
    r"""An invertible map of data to noise whose Jacobian determinant is cheap.

    With noise of density :math:`p_Z`, data have the density

    .. math:: \log p(x) = \log p_Z(f(x)) + \log |\det \partial f / \partial x| .

    A bijection of a whole state is a network of the platform as well: as ``model(x, t, **cond)`` it carries
    noise to data, and does not read the time.

    Attributes:
        rounds: network evaluations that `inverse` takes one after the other; 1 where all of a state is made
            at once.
    """

    rounds: int = 1

    @abstractmethod
    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Data ``(batch, *event)`` to noise with as many numbers a row, and ``log |det|`` ``(batch,)``."""

    def unnormalised(self, x: Tensor, cond: Cond) -> Image:
        r"""As `transform`, without what of ``log |det|`` does not depend on x, where that can be left out.

        What is left out is minus the log partition function of the energy
        :math:`E(x) = -\log p_Z(f(x)) - \log|\det|` (2305.15267, equation 6). A layer of constant Jacobian
        leaves out all of it and computes no determinant; by default nothing is left out.
        """
        return self.transform(x, cond)

    @abstractmethod
    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Noise to data: the inverse of `transform` under the same conditions."""

    def initialise(self, x: Tensor, cond: Cond) -> Tensor:
        """Set what starts at statistics of a first batch ``x``, and return where it is carried.

        Called once, before training, without gradient. Nothing of it happens again when weights are loaded.
        """
        return self.transform(x, cond)[0]

    def forward(self, x: Tensor, t: Any = None, /, **cond: Tensor) -> Tensor:
        """Noise to data, as a network of the platform."""
        return self.inverse(x, cond)


class Chain(Bijection):
    """Bijections one after the other; log-determinants add up.

    Args:
        links: from data to noise.
    """

    def __init__(self, links: Sequence[Bijection]) -> None:
        super().__init__()
        self.links = nn.ModuleList(links)

    @property
    def rounds(self) -> int:  # type: ignore[override]
        """Those of all links."""
        return sum(link.rounds for link in self.links if isinstance(link, Bijection))

    def trace(self, x: Tensor, cond: Cond, whole: bool = True) -> Iterator[Image]:
        """Where every link carries what the links before it made, and its own ``log |det|``.

        Args:
            x: what the first link is given.
            cond: conditions of all links.
            whole: False leaves the constants out, as `unnormalised` does.
        """
        for link in self.links:
            assert isinstance(link, Bijection)
            x, log_det = (link.transform if whole else link.unnormalised)(x, cond)
            yield x, log_det

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Through all links."""
        return self._through(x, cond, whole=True)

    def unnormalised(self, x: Tensor, cond: Cond) -> Image:
        """Through all links, each without its constant."""
        return self._through(x, cond, whole=False)

    def _through(self, x: Tensor, cond: Cond, whole: bool) -> Image:
        total = x.new_zeros(len(x))
        for reached, log_det in self.trace(x, cond, whole):
            x, total = reached, total + log_det
        return x, total

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Back through all links."""
        for link in reversed(self.links):
            assert isinstance(link, Bijection)
            z = link.inverse(z, cond)
        return z

    def initialise(self, x: Tensor, cond: Cond) -> Tensor:
        """Every link on what the links before it make of the batch."""
        for link in self.links:
            assert isinstance(link, Bijection)
            x = link.initialise(x, cond)
        return x
