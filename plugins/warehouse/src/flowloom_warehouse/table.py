"""Data sets that read rows of columns from files, row by row; nothing but the asked rows is held."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError
from flowloom.spec import Spec
from flowloom_warehouse.columns import Columns, Table
from flowloom_warehouse.held_out import HeldOut

__all__ = ["Part", "Source", "TableData", "unchanged"]


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

    def at(self, row: int) -> str:
        """What messages call a row."""
        return f"{self.place}, row {row}"

    def fingerprint(self) -> str | None:
        """What tells these rows from others without a look at them; None where nothing does."""
        return None


class TableData(Dataset):
    """A data set over `Source`, one for each split; where there is no test split, rows are held out.

    Args:
        columns: which are read.
        held_out: share of the rows held out as split ``test`` where the files have none, as `HeldOut` has it.
    """

    reads_files: ClassVar[bool] = True

    def __init__(self, columns: Columns, held_out: float = 0.0) -> None:
        self.columns, self.held_out = columns, HeldOut(held_out)
        self._parts: dict[str, Part] = {}

    @abstractmethod
    def source(self, split: str) -> Source:
        """Rows of a split of the files.

        Raises:
            DataError: there is no such split, or it cannot be read.
        """

    @abstractmethod
    def has_test(self) -> bool:
        """Whether the files have a split ``test`` of their own."""

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

    def fingerprint(self) -> str | None:
        """That of the training split: its files with their sizes and times, and what is read of them."""
        return self._part("train").fingerprint()

    def _part(self, name: str) -> Part:
        if name not in self._parts:
            divided = name in ("train", "test") and self.held_out.part > 0 and not self.has_test()
            source = self.source("train" if divided else name)
            held_out = self.held_out if divided else HeldOut(0)
            made = Part(source, self._filled(source), held_out, divided and name == "test")
            if not len(made):
                few = f"; held_out gives it none of {len(source)} rows" if divided and len(source) else ""
                raise DataError(f"{source.place} is empty: split '{name}' has no rows{few}")
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
    """Rows of one source: those that are not held out, or those that are.

    Args:
        source: where they are.
        columns: which are read.
        held_out: which rows are.
        held: whether these are the held-out rows.
    """

    reads_files: ClassVar[bool] = True

    def __init__(self, source: Source, columns: Columns, held_out: HeldOut, held: bool) -> None:
        self.source, self.columns, self.held_out, self.held = source, columns, held_out, held
        self._spec: Spec | None = None

    @property
    def spec(self) -> Spec:
        """Of the first row, and what is said of columns."""
        if self._spec is None:
            if not len(self.source):
                raise DataError(f"{self.source.place} is empty")
            first = self.source.read([0], self.columns.names())
            self._spec = self.columns.spec(first, self.source.at)
        return self._spec

    def __len__(self) -> int:
        held = self.held_out.count(len(self.source))
        return held if self.held else len(self.source) - held

    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows``."""
        if not len(rows):
            return self.take(torch.zeros(1, dtype=torch.long)).take(rows)
        numbers = (self.held_out.held(rows) if self.held else self.held_out.kept(rows)).tolist()
        table = self.source.read(numbers, self.columns.names())
        return self.columns.examples(table, self.spec, self.source.at, numbers)

    def fingerprint(self) -> str | None:
        """That of the source, and what is read of it."""
        source = self.source.fingerprint()
        if source is None:
            return None
        return json.dumps([source, asdict(self.columns), vars(self.held_out), self.held], sort_keys=True)


def unchanged(files: Iterable[Path]) -> str:
    """A hash of where files are, how long they are and when they were written."""
    digest = hashlib.sha256()
    for file in files:
        about = file.stat()
        digest.update(json.dumps([str(file.absolute()), about.st_size, about.st_mtime_ns]).encode())
    return digest.hexdigest()
