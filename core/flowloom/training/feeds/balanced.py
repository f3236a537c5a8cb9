"""Batches in which every class is met as often as any other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.data.base import Dataset
from flowloom.errors import DataError, IncompatibleError
from flowloom.seeds import derive
from flowloom.training.feeds.base import Feeding
from flowloom.training.feeds.rows import DataFeed
from flowloom.training.order import permuted
from flowloom.views import View


class Balanced(DataFeed):
    """Every class equally often, whatever its share of the data; within a class, shuffled epochs.

    Positions of the training go round the classes, in a new random order each time, so that among as many
    examples as there are classes each is met once. Only the rows' classes are held in memory.

    Args:
        data: training rows; injected from the recipe.
        views: what is made of them, in order; injected from the recipe.
        by: a condition that is a class, of the data or made by a view that draws nothing; the first one where
            None. Classes without rows are left out.

    Raises:
        IncompatibleError: there is no such condition, or a view draws it.
    """

    def __init__(self, data: Dataset, views: Sequence[View] = (), by: str | None = None) -> None:
        super().__init__(data, views)
        classes = [name for name, c in self.spec.conditions.items() if c.classes is not None and not c.shape]
        self.by = by or (classes[0] if classes else "")
        if self.by not in classes:
            asked = f"'{by}' is no class" if by else "there is none"
            raise IncompatibleError(
                f"feed balanced goes by a condition that is a class, and {asked}; "
                f"the data has: {', '.join(classes) or 'no classes (use feed rows)'}"
            )
        self.makers(self.by)

    def start(self, feeding: Feeding) -> None:
        """Sort the rows by their class."""
        super().start(feeding)
        labels = torch.cat(list(self.known(self.by)))
        self._members = [(labels == value).nonzero()[:, 0] for value in labels.unique().tolist()]
        if not self._members:
            raise DataError("feed balanced: the data has no rows")

    def rows(self, number: int) -> Tensor:
        """A row for each place of the batch, class by class."""
        size, count = self.feeding.size, len(self._members)
        places = torch.arange(number * size, (number + 1) * size)
        out = torch.empty(size, dtype=torch.long)
        rounds = places // count
        for turn in rounds.unique().tolist():
            here = rounds == turn
            key = derive(self.feeding.seed, "balanced/classes", turn)
            chosen = permuted(places[here] % count, count, key)
            out[here] = torch.stack([self._row(int(c), turn) for c in chosen])
        return out

    def _row(self, which: int, turn: int) -> Tensor:
        """The row of a class at its ``turn``-th use."""
        members = self._members[which]
        epoch, place = divmod(turn, len(members))
        key = derive(self.feeding.seed, f"balanced/{which}", epoch)
        return members[permuted(torch.tensor([place]), len(members), key)[0]]
