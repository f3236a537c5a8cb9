"""Several data sets as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from flowloom.data.base import Dataset, Examples
from flowloom.errors import DataError
from flowloom.spec import Spec

__all__ = ["Mixed"]


class Mixed(Dataset):
    """The rows of several data sets, one after another: real data and a model's own samples, say.

    Rows are drawn evenly from all of them, so that their sizes are the weights of their laws. Held-out splits
    are those of the first: what is learned is judged by what it should look like.

    Args:
        parts: data sets of one spec.

    Raises:
        DataError: there are none, or they differ in what their rows are.
    """

    def __init__(self, parts: Sequence[Dataset]) -> None:
        if not parts:
            raise DataError("data mixed needs at least one part")
        first = parts[0].spec
        for i, other in enumerate(parts[1:], 2):
            if replace(other.spec, limits=None) != replace(first, limits=None):
                raise DataError(
                    f"part {i} of data mixed has rows of another kind than the first: {other.spec} beside "
                    f"{first}"
                )
        self.parts = list(parts)
        self.reads_files = any(getattr(part, "reads_files", False) for part in parts)
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)

    @property
    def spec(self) -> Spec:
        """That of the first part."""
        return self.parts[0].spec

    def __len__(self) -> int:
        return int(self._ends[-1])

    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows``, each from its part."""
        where = torch.searchsorted(self._ends, rows, right=True)
        order, found = [], []
        for number in where.unique().tolist() or [0]:
            here = (where == number).nonzero()[:, 0]
            begin = int(self._ends[number - 1]) if number else 0
            order.append(here)
            found.append(self.parts[number].take(rows[here] - begin))
        return Examples.concat(found).take(torch.cat(order).argsort())

    def split(self, name: str) -> Dataset:
        """``train`` (itself), or a split of the first part.

        Raises:
            DataError: the first part has no such split.
        """
        return self if name == "train" else self.parts[0].split(name)
