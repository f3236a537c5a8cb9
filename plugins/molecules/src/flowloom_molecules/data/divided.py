"""Data sets of prepared rows of different sizes, divided into splits by the rows' own names."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any

from torch import Tensor

from flowloom.data import Dataset
from flowloom.errors import DataError
from flowloom_molecules.data.prepared import Prepared
from flowloom_molecules.data.splits import divide, no_split, require_shares

__all__ = ["Divided", "InSplits"]


class InSplits(Dataset):
    """Rows that are divided into splits once they are prepared.

    Args:
        val: share of the validation split.
        test: share of the test split.

    Raises:
        DataError: the shares leave nothing to train on.
    """

    def __init__(self, val: float, test: float) -> None:
        require_shares(val, test)
        self.val, self.test = val, test
        self._split = "train"
        self._rows: dict[str, Tensor] = {}

    @property
    @abstractmethod
    def prepared(self) -> Any:
        """All rows, of all splits; which are in which split is known after it."""

    @property
    def called(self) -> str:
        """What messages call it."""
        return type(self).__name__

    @property
    def own(self) -> Tensor:
        """Which of all rows are in this split."""
        _ = self.prepared
        return self._rows[self._split]

    def __len__(self) -> int:
        return len(self.own)

    def split(self, name: str) -> Dataset:
        """``train``, ``val`` or ``test``.

        Raises:
            DataError: there is no such split, or it is empty.
        """
        _ = self.prepared
        if name not in self._rows or len(self._rows[name]) == 0:
            raise no_split(self.called, name, {k: len(rows) for k, rows in self._rows.items()})
        other = copy.copy(self)
        other._split = name
        return other


class Divided(InSplits):
    """Rows that are prepared when they are first asked for; whether one is in a split is decided by its key.

    Args:
        val: share of the validation split.
        test: share of the test split.

    Raises:
        DataError: the shares leave nothing to train on.
    """

    def __init__(self, val: float, test: float) -> None:
        super().__init__(val, test)
        self._all: Prepared | None = None

    @abstractmethod
    def prepare(self) -> Prepared:
        """All rows, of all splits."""

    @property
    def prepared(self) -> Prepared:
        """All rows.

        Raises:
            DataError: there are none, or they cannot be had.
        """
        if self._all is None:
            kept = self.prepare()
            if not len(kept):
                raise DataError(f"{self.called}: there is no molecule")
            self._all, self._rows = kept, divide(kept.keys, self.val, self.test)
        return self._all

    @property
    def most(self) -> int:
        """Points of the largest row of all splits."""
        return int(self.prepared.sizes.max())
