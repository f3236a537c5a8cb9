"""Data sets that read their files once for all splits."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.spec import Spec

__all__ = ["InParts"]


class InParts(Dataset):
    """What is read is kept by the training split, which the others ask."""

    reads_files: ClassVar[bool] = True

    @abstractmethod
    def size(self, split: str) -> int:
        """Number of examples of a split."""

    @abstractmethod
    def rows_of(self, split: str, rows: Tensor) -> Examples:
        """Examples of a split."""

    def __len__(self) -> int:
        return self.size("train")

    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows``."""
        return self.rows_of("train", rows)

    def split(self, name: str) -> Dataset:
        """``train``, ``val`` or ``test``."""
        if name == "train":
            return self
        return _Part(self, name) if name in ("val", "test") else super().split(name)


class _Part(Dataset):
    """Another split of the same files."""

    reads_files: ClassVar[bool] = True

    def __init__(self, whole: InParts, name: str) -> None:
        self.whole, self.name = whole, name

    @property
    def spec(self) -> Spec:
        return self.whole.spec

    def __len__(self) -> int:
        return self.whole.size(self.name)

    def take(self, rows: Tensor) -> Examples:
        return self.whole.rows_of(self.name, rows)

    def split(self, name: str) -> Dataset:
        return self if name == self.name else self.whole.split(name)
