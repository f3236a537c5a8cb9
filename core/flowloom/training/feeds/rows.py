"""Batches of rows of a data set: in shuffled epochs, and the base of those in another order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from flowloom.data.base import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.objectives import Batch
from flowloom.seeds import generator as generator_of
from flowloom.spec import Spec
from flowloom.training.feeds.base import Feed, Feeding, coupled
from flowloom.training.order import EpochOrder
from flowloom.views import View, Viewed, spec_through, through

_AT_ONCE = 4096


class DataFeed(Feed):
    """Rows of a data set, seen through views, encoded, given noise and coupled; which rows, a subclass says.

    Args:
        data: training rows; injected from the recipe.
        views: what is made of them, in order; injected from the recipe.
    """

    def __init__(self, data: Dataset, views: Sequence[View] = ()) -> None:
        if len(data) == 0:
            raise DataError("the training data is empty")
        self.data, self.views = data, tuple(views)
        self.reads_files = bool(getattr(data, "reads_files", False))
        self._spec = spec_through(self.views, data.spec)

    @property
    def spec(self) -> Spec:
        """The data's, after all views."""
        return self._spec

    def examples(self) -> Dataset | None:
        """The data, after all views that are not mere augmentation."""
        return Viewed(self.data, self.views, rowwise=False) if self.views else self.data

    @abstractmethod
    def rows(self, number: int) -> Tensor:
        """Which rows batch ``number`` is made of, int64."""

    def seen(self, number: int) -> Examples:
        """The examples of that batch: its rows, after all views."""
        return self.viewed(self.rows(number), generator_of(self.feeding.seed, "views", number))

    def viewed(self, rows: Tensor, generator: torch.Generator) -> Examples:
        """The examples at ``rows``, after all views."""
        return through(self.views, self.data.take(rows), self.data.spec, generator)

    def makers(self, name: str) -> list[View]:
        """The views after which every row has its condition ``name`` as batches show it.

        Those that follow, and those that merely augment, are taken to leave it as it is.

        Raises:
            IncompatibleError: one of them draws, so that no row has it before a batch is drawn.
        """
        spec, needed = self.data.spec, 0
        for i, view in enumerate(self.views):
            before, spec = spec.conditions.get(name), view.spec(spec)
            needed = needed if spec.conditions.get(name) == before else i + 1
        views = [view for view in self.views[:needed] if not view.augments]
        for view in views:
            if view.random:
                raise IncompatibleError(
                    f"feed {type(self).__name__.lower()} sorts rows by '{name}', and view "
                    f"{type(view).__name__}, by which it is made, draws it in every batch anew; use "
                    "feed rows (or say random = False of a view that draws nothing)"
                )
        return views

    def known(self, name: str) -> Iterator[Tensor]:
        """The condition ``name`` of all rows, some thousand at a time: what rows are sorted by."""
        views = self.makers(name)
        for rows in torch.arange(len(self.data)).split(_AT_ONCE):
            yield through(views, self.data.take(rows), self.data.spec, torch.Generator()).cond[name]

    def batch(self, number: int, generator: torch.Generator) -> Batch:
        """The rows of that step."""
        return coupled(self.feeding, self.seen(number), generator)


class Rows(DataFeed):
    """Rows of a data set in shuffled epochs: viewed, encoded, given noise and coupled.

    Args:
        data: training rows; injected from the recipe.
        views: what is made of them, in order; injected from the recipe.
    """

    def start(self, feeding: Feeding) -> None:
        """Remember what batches are made with."""
        super().start(feeding)
        self.order = EpochOrder(len(self.data), feeding.size, feeding.seed)

    def rows(self, number: int) -> Tensor:
        """The next rows of the epoch."""
        return self.order.rows(number)
