"""Models whose parts start at statistics of training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowloom.data import Dataset
from flowloom.errors import DataError
from flowloom_likelihood.bijections import Bijection

if TYPE_CHECKING:
    from flowloom.flow import Flow


class Started(Bijection):
    """A whole bijection that is initialised on training rows, once, before the first step.

    Attributes:
        first_rows: how many rows.
    """

    first_rows: int = 512

    @torch.no_grad()
    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Start the normalisations at the statistics of training rows.

        Raises:
            DataError: there are no rows.
        """
        if data is None or len(data) == 0:
            raise DataError(
                f"{type(self).__name__.lower()} starts its normalisation at statistics of data, "
                "and this recipe has none"
            )
        rows = torch.randperm(len(data), generator=generator)[: self.first_rows]
        examples = data.take(rows).to(next(self.parameters()).device)
        states = examples if flow is None else flow.encode(examples, generator)
        assert isinstance(states.x, Tensor)
        self.initialise(states.x, states.cond)
