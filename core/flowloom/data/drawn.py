"""Data sets that are drawn from a law, once, by a seed."""

from __future__ import annotations

import copy
from abc import abstractmethod

import torch
from torch import Tensor

from flowloom.data.base import Dataset, Examples
from flowloom.errors import DataError

__all__ = ["Drawn"]

_OFFSETS = {"train": 0, "val": 1_000_003, "test": 2_000_003}


class Drawn(Dataset):
    """``n`` examples of a law; the other splits are further draws of the same size.

    Args:
        n: examples in every split.
        seed: of the draws.
    """

    def __init__(self, n: int = 20_000, seed: int = 0) -> None:
        if n < 1:
            raise DataError(f"n must be at least 1, got {n}")
        self.n, self.seed = n, seed
        self._drawn: Examples | None = None

    @abstractmethod
    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Examples of the law."""

    def __len__(self) -> int:
        return self.n

    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows``."""
        if self._drawn is None:
            self._drawn = self.draw_examples(self.n, torch.Generator().manual_seed(self.seed))
        return self._drawn.take(rows)

    def split(self, name: str) -> Dataset:
        """``train`` (itself), or ``val`` and ``test``: independent draws of the same law."""
        if name not in _OFFSETS:
            return super().split(name)
        if name == "train":
            return self
        other = copy.copy(self)
        other.seed, other._drawn = self.seed + _OFFSETS[name], None
        return other
