"""What feeds that look at the model share: rows of data beside it, and what they keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from flowloom.data.base import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.seeds import generator as generator_of
from flowloom.spec import Spec
from flowloom.training.feeds.base import Feed, Feeding, spec_told
from flowloom.training.feeds.rows import Rows
from flowloom.views import View

__all__ = ["OwnFeed"]


class OwnFeed(Feed):
    """Batches that come, at least in part, from what the flow itself drew.

    Args:
        data: training rows, where there are any.
        views: what is made of them, in order.
        shape: event shape of the states where there are no data, or one shape for every part.
        vocab: number of tokens there, where states are tokens.
        every: steps between looks at the flow.
    """

    def __init__(
        self,
        data: Dataset | None,
        views: Sequence[View],
        shape: Sequence[int] | Mapping[str, Sequence[int]] | None,
        vocab: int | None,
        every: int,
    ) -> None:
        if every < 1:
            raise ValueError(f"every counts steps between looks from 1, got {every}")
        self.rows = None if data is None else Rows(data, views)
        if self.rows is not None:
            self._spec = self.rows.spec
        elif shape is not None:
            self._spec = spec_told(shape, vocab)
        else:
            raise DataError("without data a feed of own samples must be told their shape (shape: ...)")
        self.reads_files = self.rows is not None and self.rows.reads_files
        self.refresh_every = every
        self.kept: dict[str, Tensor] = {}

    @property
    def spec(self) -> Spec:
        """The data's after all views, or as it was told."""
        return self._spec

    def examples(self) -> Dataset | None:
        """The data, where there are any."""
        return None if self.rows is None else self.rows.examples()

    def start(self, feeding: Feeding) -> None:
        """Remember what batches are made with.

        Raises:
            IncompatibleError: the objective encodes by itself, so that the flow draws no states.
        """
        super().start(feeding)
        if feeding.flow.objective.encodes:
            raise IncompatibleError(
                f"feed {type(self).__name__} learns from states that the flow draws, and objective "
                f"{type(feeding.flow.objective).__name__} encodes by itself; use feed rows"
            )
        if self.rows is not None:
            self.rows.start(feeding)

    @property
    def stored(self) -> int:
        """Number of records that are kept."""
        return len(next(iter(self.kept.values()))) if self.kept else 0

    def asked(self, n: int, step: int) -> Examples | None:
        """Random rows of the data, viewed, whose conditions the flow is to draw under; None without data."""
        if self.rows is None:
            return None
        draws = generator_of(self.feeding.seed, "own/rows", step)
        chosen = torch.randint(len(self.rows.data), (n,), generator=draws)
        return self.feeding.flow.formed(self.rows.viewed(chosen, draws).to(self.feeding.device))

    def tensors(self) -> Mapping[str, Tensor]:
        """Everything that is kept."""
        return self.kept

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take it up again."""
        self.kept = {name: value.to(self.feeding.device) for name, value in tensors.items()}

    def chosen(self, n: int, number: int) -> dict[str, Tensor]:
        """``n`` records for batch ``number``: no one twice where there are enough."""
        draws = generator_of(self.feeding.seed, "own/records", number)
        have = self.stored
        rows = (
            torch.randperm(have, generator=draws)[:n]
            if n <= have
            else torch.randint(have, (n,), generator=draws)
        )
        return {name: value[rows.to(value.device)] for name, value in self.kept.items()}
