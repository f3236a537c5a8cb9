"""Data sets that are drawn from a law by a seed."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError

__all__ = ["Drawn"]

_OFFSETS = {"train": 0, "val": 1_000_003, "test": 2_000_003}


class Drawn(Dataset):
    """``n`` examples of a law; the other splits are further draws of the same size.

    Subclasses keep their arguments under their names, so that another split is the same law again.

    Args:
        n: examples in every split.
        seed: of the draws.
    """

    def __init__(self, n: int, seed: int, **settings: Any) -> None:
        if n < 1:
            raise DataError(f"n must be at least 1, got {n}")
        self.n, self.seed, self._settings = n, seed, settings
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
        """``train`` (itself), or ``val`` and ``test``: independent draws."""
        if name not in _OFFSETS:
            return super().split(name)
        if name == "train":
            return self
        return type(self)(n=self.n, seed=self.seed + _OFFSETS[name], **self._settings)
