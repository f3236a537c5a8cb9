"""Batches of examples of similar length, cut to the longest of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from flowloom.data.base import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.seeds import derive
from flowloom.spec import Spec
from flowloom.training.feeds.base import Feeding
from flowloom.training.feeds.rows import DataFeed
from flowloom.training.order import EpochOrder, permuted
from flowloom.views import View
from flowloom.views.base import part_at, with_part


class Bucketed(DataFeed):
    """Shuffled epochs of ragged examples in batches of similar length, so that little is spent on padding.

    A pool of ``pool`` batches is taken from the shuffled epoch, sorted by length, cut into batches, and those
    are taken in random order, as are the rows of each: what is done to the first rows of a batch alone must
    not meet the shortest ones. A batch is cut to its longest example, unless ``trim`` is false (for networks
    of one size). The lengths of all rows are read once at the start, and nothing else is held in memory.

    Args:
        data: training rows; injected from the recipe.
        views: what is made of them, in order; injected from the recipe. They leave lengths as they are, but
            for one that makes the condition by which they are known.
        pool: batches sorted together; 1 sorts nothing, more pads less and mixes lengths less.
        trim: cut a batch to its longest example.
        multiple: lengths are cut to multiples of so many entries (for compiled networks).
        by: the condition of role ``real`` that says the length, of the data or made by a view that draws
            nothing; the first one where None.

    Raises:
        IncompatibleError: there is no such condition, or a view draws it.
    """

    def __init__(
        self,
        data: Dataset,
        views: Sequence[View] = (),
        pool: int = 20,
        trim: bool = True,
        multiple: int = 1,
        by: str | None = None,
    ) -> None:
        super().__init__(data, views)
        if pool < 1 or multiple < 1:
            raise ValueError(f"pool and multiple must be at least 1, got {pool} and {multiple}")
        real = [name for name in self.spec.named("real") if self.spec.conditions[name].shape]
        self.by = by or (real[0] if real else "")
        if self.by not in real:
            raise IncompatibleError(
                "feed bucketed is for examples that differ in length, which a condition of role 'real' says; "
                f"the data has: {', '.join(real) or 'none (use feed rows)'}"
            )
        self.makers(self.by)
        self.pool, self.trim, self.multiple = pool, trim, multiple

    def start(self, feeding: Feeding) -> None:
        """Read the lengths, and remember what batches are made with."""
        super().start(feeding)
        self._lengths = torch.cat([_length(real).int() for real in self.known(self.by)])
        self._order = EpochOrder(len(self.data), feeding.size * self.pool, feeding.seed)

    def rows(self, number: int) -> Tensor:
        """Neighbours in length within the pool that the batch is of."""
        which, place = divmod(number, self.pool)
        rows = self._order.rows(which)
        ranked = rows[self._lengths[rows].argsort(stable=True)]
        key = derive(self.feeding.seed, "bucketed", which)
        chosen = int(permuted(torch.tensor([place]), self.pool, key))
        own = ranked[chosen * self.feeding.size : (chosen + 1) * self.feeding.size]
        order = derive(self.feeding.seed, "bucketed rows", number)
        return own[permuted(torch.arange(len(own)), len(own), order)]

    def seen(self, number: int) -> Examples:
        """The examples of that batch, cut to the longest."""
        examples = super().seen(number)
        return trimmed(examples, self.spec, self.by, self.multiple) if self.trim else examples


def trimmed(examples: Examples, spec: Spec, by: str, multiple: int = 1) -> Examples:
    """Examples cut, along the dimensions of the condition ``by``, to the last entry that any row has.

    Conditions that speak of the same parts are cut alike; what informs the network stays as it is.

    Args:
        examples: padded.
        spec: of them.
        by: a condition of role ``real``.
        multiple: lengths are rounded up to multiples of so many.
    """
    real, parts = examples.cond[by].bool(), spec.conditions[by].parts()
    cut: list[slice] = [slice(None)]
    for axis in range(1, real.ndim):
        others = [i for i in range(real.ndim) if i != axis]
        used = real.any(dim=others[0]) if len(others) == 1 else real.amax(others)
        longest = int(used.nonzero().max()) + 1 if bool(used.any()) else 1
        cut.append(slice(-(-longest // multiple) * multiple))
    x = examples.x
    for part in parts:
        x = with_part(x, part, part_at(x, part)[tuple(cut)])
    cond = dict(examples.cond)
    for name, condition in spec.conditions.items():
        speaks = condition.role not in ("inform", "setting", "judged") and set(condition.parts()) & set(parts)
        if name in cond and speaks:
            cond[name] = cond[name][tuple(cut[: cond[name].ndim])]
    return replace(examples, x=x, cond=cond, layout=None)


def _length(real: Tensor) -> Tensor:
    """How many entries of every row are real."""
    return real.bool().flatten(1).sum(1)
