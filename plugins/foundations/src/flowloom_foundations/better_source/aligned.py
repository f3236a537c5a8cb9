"""A source as long as the data are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from flowloom.data import Dataset
from flowloom.draw import GLOBAL, Draw
from flowloom.errors import DataError, IncompatibleError
from flowloom.layout import Layout
from flowloom.sources import Gaussian, Source
from flowloom.state import Cond

if TYPE_CHECKING:
    from flowloom.flow import Flow


class NormAligned(Source, nn.Module):
    r"""Another source, scaled to the mean length of the data (2512.18184).

    .. math:: x_0 \leftarrow x_0\, E\|x_1\| / E\|x_0\|

    in training and in sampling: paths then turn and do not shrink. CIFAR-10 in [-1, 1] has 27.2 / 55.4 =
    0.49. Both means are measured once, before training; padding has no length.

    Args:
        source: the other source; a Gaussian where none is given.
        rows: training rows to measure, at most.
    """

    ratio: Tensor

    def __init__(self, source: Source | None = None, rows: int = 10_000) -> None:
        nn.Module.__init__(self)
        self.inner, self.rows = source or Gaussian(), rows
        self.register_buffer("ratio", torch.ones(()))

    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Measure the lengths of states, and of as many draws.

        Raises:
            DataError: the recipe has no data.
            IncompatibleError: states have parts.
        """
        if data is None:
            raise DataError("source norm-aligned measures data, and this recipe has none")
        rows = data.take(data.evenly(self.rows))
        states = rows if flow is None else flow.encode(rows.to(flow.device), generator)
        x1 = states.x
        if not isinstance(x1, Tensor):
            raise IncompatibleError(
                "source norm-aligned is as long as one tensor is, and the state has parts"
            )
        layout = Layout.of(data.spec, states.cond) if flow is None else flow.layout(states.cond)
        x0 = self.inner.noise((self.rows, *x1.shape[1:]), Draw(generator))
        if layout is not None:
            # As many draws as there are rows, each with the padding of one.
            drawn = torch.arange(len(x0)) % len(x1)
            x0 = layout.take(drawn.to(x1.device)).zero(x0.to(x1.device))
            x1 = layout.zero(x1)
        self.ratio.copy_(x1.flatten(1).norm(dim=1).mean() / x0.flatten(1).norm(dim=1).mean())

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """Draws of the other source, scaled."""
        noise = self.inner.noise(shape, draw, cond=cond)
        return noise * self.ratio.to(noise)
