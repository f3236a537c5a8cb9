"""A data set seen through views, the same whenever it is asked for: what judges and fits look at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.data.base import Dataset, Examples
from flowloom.seeds import generator
from flowloom.spec import Spec
from flowloom.views.base import View, spec_through, through

__all__ = ["Viewed"]


class Viewed(Dataset):
    """Rows of a data set after views, every row by a generator of its own.

    The same row is the same example in any order, process and number; views that only augment are left out.

    Args:
        data: the rows.
        views: in order.
        seed: of what is drawn.
        rowwise: False draws all rows that are asked for at once from one generator, which is faster and
            depends on what is asked together.
    """

    def __init__(self, data: Dataset, views: Sequence[View], seed: int = 0, *, rowwise: bool = True) -> None:
        self.data, self.seed, self.rowwise = data, seed, rowwise
        self.views = [view for view in views if not view.augments]
        self.reads_files = bool(getattr(data, "reads_files", False))
        self._spec = spec_through(self.views, data.spec)

    @property
    def spec(self) -> Spec:
        """After all views."""
        return self._spec

    def __len__(self) -> int:
        return len(self.data)

    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows``, viewed."""
        examples = self.data.take(rows)
        if not len(rows) or not self.rowwise or not any(view.random for view in self.views):
            return self._seen(examples, int(rows[0]) if len(rows) else 0)
        each = [self._seen(examples.take(torch.tensor([i])), row) for i, row in enumerate(rows.tolist())]
        return Examples.concat(each)

    def split(self, name: str) -> Dataset:
        """The same split of the data, viewed with draws of its own."""
        other = self.data.split(name)
        seed = self.seed if other is self.data else self.seed + sum(map(ord, name))
        return Viewed(other, self.views, seed, rowwise=self.rowwise)

    def _seen(self, examples: Examples, row: int) -> Examples:
        return through(self.views, examples, self.data.spec, generator(self.seed, "views", row))
