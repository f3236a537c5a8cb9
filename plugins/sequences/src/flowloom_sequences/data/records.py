"""Data sets of separate sequences: fixed or variable length, with or without classes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec
from flowloom_sequences.data.stream import SPLITS, Shares
from flowloom_sequences.data.vocabulary import Vocabulary


@dataclass(frozen=True)
class Record:
    """One sequence as read.

    Args:
        ids: its token ids.
        label: name of its class, where it has one.
    """

    ids: Sequence[int]
    label: str | None = None


class Records(Dataset):
    """Sequences kept in memory; shorter ones are padded with id 0 and a ``mask``.

    Subclasses read them. Where all have the full length there is no mask and the data set is not ragged.

    Args:
        length: longest sequence, or None for that of the data.
        shares: of the splits.
    """

    vocabulary: Vocabulary

    def __init__(self, length: int | None, shares: Shares) -> None:
        if length is not None and length < 1:
            raise DataError(f"length must be at least 1, got {length}")
        self.length, self.shares = length, shares
        self._split = "train"
        self._rows: dict[str, Tensor] = {}
        self._x = self._mask = self._label = torch.zeros(0)
        self._names: tuple[str, ...] = ()

    def read(self) -> list[Record]:
        """All sequences; sets ``vocabulary``."""
        raise NotImplementedError

    @property
    def spec(self) -> Spec:
        """Token ids, with ``mask`` where lengths differ and ``label`` where there are classes."""
        self._load()
        conditions = {}
        if self._names:
            conditions["label"] = Condition(len(self._names), names=self._names)
        ragged = len(self._mask) > 0
        if ragged:
            conditions["mask"] = Condition(shape=(self._x.shape[1],), role="real")
        return Spec(
            shape=(self._x.shape[1],),
            vocab=self.vocabulary.size,
            conditions=conditions,
            tokens=self.vocabulary.tokens,
        )

    def __len__(self) -> int:
        self._load()
        return len(self._rows[self._split])

    def take(self, rows: Tensor) -> Examples:
        """Ids ``(n, length)``, with ``mask`` and ``label`` where there are."""
        self._load()
        chosen = self._rows[self._split][rows]
        cond = {"label": self._label[chosen]} if self._names else {}
        if len(self._mask):
            cond["mask"] = self._mask[chosen]
        return Examples(self._x[chosen], cond)

    def split(self, name: str) -> Dataset:
        """``train``, ``val``, ``test`` or ``judge``.

        Raises:
            DataError: there is no such split, or it was given no share.
        """
        self._load()
        if name not in SPLITS or len(self._rows[name]) == 0:
            has = ", ".join(k for k in SPLITS if len(self._rows[k]))
            raise DataError(f"{type(self).__name__} has no split '{name}'; it has: {has}")
        if name == self._split:
            return self
        other = copy.copy(self)
        other._split = name
        return other

    def _load(self) -> None:
        if self._rows:
            return
        records = self.read()
        if not records:
            raise DataError(f"{type(self).__name__} holds no sequences")
        longest = max(len(r.ids) for r in records)
        length = self.length or longest
        if longest > length:
            raise DataError(f"a sequence has {longest} tokens, more than length {length}")
        x = torch.zeros(len(records), length, dtype=torch.long)
        sizes = torch.tensor([len(r.ids) for r in records])
        for i, record in enumerate(records):
            x[i, : len(record.ids)] = torch.as_tensor(record.ids)
        named = [r.label for r in records]
        if any(named):
            if None in named:
                raise DataError(f"sequence {named.index(None) + 1} has no label, and others have one")
            self._names = tuple(sorted({str(name) for name in named}))
            self._label = torch.tensor([self._names.index(str(name)) for name in named])
        if int(sizes.min()) < length:
            self._mask = torch.arange(length) < sizes[:, None]
        self._x, self._rows = x, self.shares.divide(len(records))
