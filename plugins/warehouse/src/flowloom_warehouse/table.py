"""Data sets that read rows of columns from files, row by row; nothing but the asked rows is held."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError
from flowloom.spec import Spec
from flowloom_warehouse.columns import Columns, Table

__all__ = ["Part", "Source", "TableData"]


class Source:
    """Rows of columns, by number.

    Attributes:
        place: what messages call it.
        columns: names of those that there are.
    """

    place: str
    columns: Sequence[str]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, rows: Sequence[int], columns: Sequence[str]) -> Table:
        """The values of some rows."""

    def names(self, column: str) -> Sequence[str]:
        """Names of the classes of a column, where the files say them."""
        return ()


class TableData(Dataset):
    """A data set over `Source`, one for each split; where there is no test split, rows are held out.

    Args:
        columns: which are read.
        held_out: share of the rows held out as split ``test`` where the files have none: every k-th row.
    """

    reads_files: ClassVar[bool] = True

    def __init__(self, columns: Columns, held_out: float = 0.0) -> None:
        if not 0 <= held_out <= 0.5:
            raise DataError(f"held_out is a share from 0 to 0.5, got {held_out}")
        self.columns, self.held_out = columns, held_out
        self._parts: dict[str, Part] = {}

    @abstractmethod
    def source(self, split: str) -> Source:
        """Rows of a split.

        Raises:
            DataError: there is no such split, or it cannot be read.
        """

    @property
    def spec(self) -> Spec:
        """Shape, kind and conditions of the examples."""
        return self._part("train").spec

    def __len__(self) -> int:
        return len(self._part("train"))

    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows``."""
        return self._part("train").take(rows)

    def split(self, name: str) -> Dataset:
        """``train`` (itself), or a split of the files, or ``test``, held out."""
        return self if name == "train" else self._part(name)

    def _part(self, name: str) -> Part:
        if name not in self._parts:
            every = round(1 / self.held_out) if self.held_out else 0
            if every and name in ("train", "test"):
                source, held = self.source("train"), name == "test"
                made = Part(source, self._filled(source), every, held)
            else:
                source = self.source(name)
                made = Part(source, self._filled(source), 0, False)
            if not len(made):
                raise DataError(f"{source.place} is empty: split '{name}' has no rows")
            if name != "train" and made.spec != self._part("train").spec:
                raise DataError(
                    f"{source.place}: split '{name}' is of other shape or kind than the training split"
                )
            self._parts[name] = made
        return self._parts[name]

    def _filled(self, source: Source) -> Columns:
        """The columns, with the names of classes that files say."""
        self.columns.require(source.columns, source.place)
        said: Mapping[str, Any] = {
            name: list(names)
            for name, column in self.columns.conditions.items()
            if name not in self.columns.classes and (names := source.names(column))
        }
        return replace(self.columns, classes={**said, **self.columns.classes})


class Part(Dataset):
    """Rows of one source: all, or all but every k-th, or those.

    Args:
        source: where they are.
        columns: which are read.
        every: k; 0 where nothing is held out.
        held: whether these are the held-out rows.
    """

    reads_files: ClassVar[bool] = True

    def __init__(self, source: Source, columns: Columns, every: int, held: bool) -> None:
        self.source, self.columns, self.every, self.held = source, columns, every, held
        self._spec: Spec | None = None

    @property
    def spec(self) -> Spec:
        """Of the first row, and what is said of columns."""
        if self._spec is None:
            if not len(self.source):
                raise DataError(f"{self.source.place} is empty")
            first = self.source.read([0], self.columns.names())
            self._spec = self.columns.spec(first, self.source.place)
        return self._spec

    def __len__(self) -> int:
        held = len(self.source) // self.every if self.every else 0
        return held if self.held else len(self.source) - held

    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows``."""
        if self.held:
            rows = rows * self.every + self.every - 1
        elif self.every:
            rows = rows + rows // (self.every - 1)
        if not len(rows):
            return self.take(torch.zeros(1, dtype=torch.long)).take(rows)
        numbers = rows.tolist()
        table = self.source.read(numbers, self.columns.names())
        return self.columns.examples(table, self.spec, self.source.place, numbers)
