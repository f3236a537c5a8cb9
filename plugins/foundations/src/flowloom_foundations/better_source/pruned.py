"""A source without the directions in which there are no data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.data import Dataset
from flowloom.draw import GLOBAL, Draw
from flowloom.errors import DataError, IncompatibleError
from flowloom.sources import Gaussian, Source
from flowloom.state import Cond, expand

if TYPE_CHECKING:
    from flowloom.flow import Flow


class Pruned(Source, nn.Module):
    r"""Another source, of which draws along empty directions are rejected: for sampling only (2512.18184).

    Candidates are both signs of all principal components of the normalised data. One is *empty* where
    :math:`\max_n \cos(a, x_n) \le` ``empty``; a draw is rejected where :math:`\cos(x_0, a) >`
    ``threshold`` for any empty a, and drawn again. Lengths stay as they are.

    A network must be trained on all directions, so give it to a flow whose network is trained already:
    ``model: {run: NAME}`` and ``train: {steps: 0}``. It shifts the proportions of modes, which the paper's
    metric leaves out.

    Args:
        source: the other source; a Gaussian where none is given.
        empty: largest cosine of an empty direction with any example.
        threshold: :math:`\tau`, the cosine beyond which a draw is rejected (0.048 on CIFAR-10).
        rows: training rows to look at, at most.
        rounds: of drawing again, after which an error says that too little is left.
    """

    axes: Tensor

    def __init__(
        self,
        source: Source | None = None,
        empty: float = 0.01,
        threshold: float = 0.048,
        rows: int = 50_000,
        rounds: int = 1000,
    ) -> None:
        nn.Module.__init__(self)
        if not -1 <= empty <= 1 or not -1 <= threshold <= 1:
            raise ValueError(f"empty and threshold are cosines, in [-1, 1], got {empty} and {threshold}")
        self.inner, self.empty, self.threshold = source or Gaussian(), empty, threshold
        self.rows, self.rounds = rows, rounds
        self.register_buffer("axes", torch.zeros(0))

    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Find the empty directions.

        Raises:
            DataError: the recipe has no data.
        """
        if data is None:
            raise DataError("source pruned looks at data, and this recipe has none")
        rows = data.take(data.evenly(self.rows))
        x = (rows if flow is None else flow.encode(rows.to(flow.device), generator)).x
        assert isinstance(x, Tensor)
        unit = F.normalize(x.flatten(1).double(), dim=1)
        centred = unit - unit.mean(0)
        components = torch.linalg.eigh(centred.T @ centred).eigenvectors.T
        axes = torch.cat([components, -components])
        largest = torch.cat([(unit @ part.T).amax(0) for part in axes.split(512)])
        self.axes = (axes * (largest <= self.empty)[:, None]).float()

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """Draws of the other source, in the directions that are left.

        Raises:
            IncompatibleError: after so many rounds some draw has found no such direction.
        """
        x = self.inner.noise(shape, draw, cond=cond)
        for _ in range(self.rounds):
            rejected = self._rejected(x)
            if not bool(rejected.any()):
                return x
            # The whole batch anew, so that row i still belongs to row i of the conditions.
            again = self.inner.noise(shape, draw, cond=cond)
            x = torch.where(expand(rejected, x), again, x)
        raise IncompatibleError(
            f"source pruned: threshold {self.threshold:g} leaves next to no direction; give a larger one"
        )

    def _rejected(self, x: Tensor) -> Tensor:
        if not self.axes.numel():
            return torch.zeros(len(x), dtype=torch.bool, device=x.device)
        cosines = F.normalize(x.flatten(1), dim=1) @ self.axes.to(x).T
        return cosines.amax(1) > self.threshold
