"""Windows of one long stream of tokens."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError
from flowloom.spec import Spec
from flowloom_sequences.data.vocabulary import Vocabulary

SPLITS = ("train", "val", "test", "judge")


class Shares:
    """How a source of data is divided, by seed.

    Args:
        judge: share held out for judges (models that score samples), which training never sees.
        test: share of the ``test`` split.
        val: share of the ``val`` split.
        seed: of the draw.
    """

    def __init__(self, judge: float, test: float, val: float, seed: int) -> None:
        if min(judge, test, val) < 0 or judge + test + val >= 1:
            raise DataError(
                f"judge ({judge}), test ({test}) and val ({val}) are shares that must leave some for training"
            )
        self.shares, self.seed = {"judge": judge, "test": test, "val": val}, seed

    def divide(self, count: int) -> dict[str, Tensor]:
        """Sorted indices of every split among ``count`` pieces; every split with a share gets one.

        Raises:
            DataError: there are too few pieces.
        """
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))
        parts: dict[str, Tensor] = {}
        for name, share in self.shares.items():
            take = max(1, round(share * count)) if share else 0
            parts[name], order = order[:take].sort().values, order[take:]
        if len(order) == 0:
            raise DataError(f"{count} pieces are too few for the splits {self.shares}; give more data")
        return {"train": order.sort().values, **parts}


class Stream(Dataset):
    """Fixed-length windows of a text, cut from blocks that belong to one split each.

    The text is cut into ``blocks`` equal blocks, which are shared out to the splits by seed; a window lies
    inside one block, so that no split sees a character of another.

    Args:
        length: tokens in a window.
        stride: tokens from one window to the next.
        blocks: number of blocks.
        shares: of the splits.
    """

    vocabulary: Vocabulary

    def __init__(self, length: int, stride: int, blocks: int, shares: Shares) -> None:
        if length < 1 or stride < 1 or blocks < 1:
            raise DataError(f"length, stride and blocks must be at least 1: {length}, {stride}, {blocks}")
        self.length, self.stride, self.blocks, self.shares = length, stride, blocks, shares
        self._split = "train"
        self._stream: Tensor | None = None
        self._starts: dict[str, Tensor] = {}

    def read(self) -> Tensor:
        """The whole text as ids, int64 ``(n,)``; sets ``vocabulary``."""
        raise NotImplementedError

    @property
    def spec(self) -> Spec:
        """Token ids ``(length,)``."""
        self._load()
        return Spec(shape=(self.length,), vocab=self.vocabulary.size, tokens=self.vocabulary.tokens)

    def __len__(self) -> int:
        self._load()
        return len(self._starts[self._split])

    def take(self, rows: Tensor) -> Examples:
        """Windows ``(n, length)``, int64."""
        stream = self._load()
        starts = self._starts[self._split][rows]
        return Examples(stream[starts[:, None] + torch.arange(self.length)].long())

    def split(self, name: str) -> Dataset:
        """``train``, ``val``, ``test`` or ``judge``.

        Raises:
            DataError: there is no such split, or it was given no share.
        """
        self._load()
        if name not in SPLITS or len(self._starts[name]) == 0:
            has = ", ".join(k for k in SPLITS if len(self._starts[k]))
            raise DataError(f"{type(self).__name__} has no split '{name}'; it has: {has}")
        if name == self._split:
            return self
        other = copy.copy(self)
        other._split = name
        return other

    def _load(self) -> Tensor:
        if self._stream is None:
            stream = self.read().int()
            size = len(stream) // self.blocks
            if size < self.length:
                raise DataError(
                    f"the text has {len(stream)} tokens; {self.blocks} blocks of it are shorter than one "
                    f"window of {self.length}: set length or blocks smaller, or give more text"
                )
            inside = torch.arange(0, size - self.length + 1, self.stride)
            for name, chosen in self.shares.divide(self.blocks).items():
                self._starts[name] = (chosen[:, None] * size + inside).flatten()
            self._stream = stream
        return self._stream
