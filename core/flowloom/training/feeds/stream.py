"""Batches of a stream of examples that has no length and cannot be asked for by row."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from flowloom.data.base import Dataset, Examples, Tensors
from flowloom.errors import DataError
from flowloom.objectives import Batch
from flowloom.seeds import generator as generator_of
from flowloom.spec import Spec
from flowloom.training.feeds.base import Feed, Feeding, coupled
from flowloom.views import View, spec_through, through

_UNKNOWN = -1


class Stream(Feed):
    """Examples as they come from a function ``read(start)``, in their order or shuffled within blocks.

    ``read(start)`` yields `Examples` of any number of rows each, from row ``start`` of the stream on, the
    same ones whenever it is called; what can seek (a file, a shard) does, what cannot reads past the first
    rows. A stream that ends begins again. Batch k is made of rows ``k size .. (k + 1) size - 1`` of this
    endless series: so a run goes on exactly where it stopped, and at most two blocks are held in memory.

    Args:
        read: the function; in a recipe ``./mine.py:read`` or ``package.module:read``.
        views: what is made of the examples, in order; injected from the recipe.
        data: says the spec of the examples, where the recipe has a data set to judge by; else the first
            examples of the stream say it, whose classes and tokens must then be the highest ones.
        shuffle: rows of a block that are put in random order; 1 keeps the order of the stream.
    """

    reads_files = True

    def __init__(
        self,
        read: Callable[[int], Iterable[Examples]],
        views: Sequence[View] = (),
        data: Dataset | None = None,
        shuffle: int = 1000,
    ) -> None:
        if shuffle < 1:
            raise ValueError(f"shuffle counts the rows of a block from 1, got {shuffle}")
        self.views, self.shuffle = tuple(views), shuffle
        self._reader = _Reader(read)
        self._plain = data.spec if data is not None else _spec_of(read)
        self._spec = spec_through(self.views, self._plain)
        self._blocks: dict[int, Examples] = {}
        self._lock = threading.Lock()

    @property
    def spec(self) -> Spec:
        """Of the examples, after all views."""
        return self._spec

    def start(self, feeding: Feeding) -> None:
        """Remember what batches are made with."""
        super().start(feeding)
        self._blocks.clear()

    def batch(self, number: int, generator: torch.Generator) -> Batch:
        """The next examples."""
        size, pieces = self.feeding.size, []
        with self._lock:
            start, stop = number * size, (number + 1) * size
            while start < stop:
                block, offset = divmod(start, self.shuffle)
                count = min(self.shuffle - offset, stop - start)
                pieces.append(self._block(block).take(torch.arange(offset, offset + count)))
                start += count
        draws = generator_of(self.feeding.seed, "views", number)
        return coupled(self.feeding, through(self.views, joined(pieces), self._plain, draws), generator)

    def tensors(self) -> Mapping[str, Tensor]:
        """How many rows the stream has, once its end was met: what an exact continuation must know."""
        return {"rows": torch.tensor(self._reader.length)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the number of rows."""
        if set(tensors) != {"rows"}:
            raise DataError(
                f"feed stream keeps 'rows', and the checkpoint has {sorted(tensors) or 'nothing'}"
            )
        self._reader.length = int(tensors["rows"])
        self._blocks.clear()

    def _block(self, which: int) -> Examples:
        if which not in self._blocks:
            rows = self._reader.rows(which * self.shuffle, self.shuffle)
            draws = generator_of(self.feeding.seed, "stream", which)
            self._blocks[which] = (
                rows.take(torch.randperm(self.shuffle, generator=draws)) if self.shuffle > 1 else rows
            )
            for old in sorted(self._blocks, key=lambda one: abs(one - which))[2:]:
                del self._blocks[old]
        return self._blocks[which]


class _Reader:
    """Rows of the endless repetition of a stream; it goes on where it stands, and seeks where it must."""

    def __init__(self, read: Callable[[int], Iterable[Examples]]) -> None:
        self.read, self.length = read, _UNKNOWN
        self._at = 0
        self._left: Examples | None = None
        self._chunks: Iterator[Examples] | None = None

    def rows(self, start: int, count: int) -> Examples:
        """Rows ``start .. start + count - 1``."""
        if self._chunks is None or self._at != start:
            self._seek(start)
        pieces, wanted = [], count
        while wanted:
            if self._left is None or not len(self._left):
                self._left = self._next()
            piece = self._left.take(torch.arange(min(wanted, len(self._left))))
            self._left = self._left.take(torch.arange(len(piece), len(self._left)))
            self._at += len(piece)
            wanted -= len(piece)
            pieces.append(piece)
        return joined(pieces)

    def _seek(self, start: int) -> None:
        where = start if self.length == _UNKNOWN else start % self.length
        self._chunks, self._left = iter(self.read(where)), None
        if self.length == _UNKNOWN and start:
            first = next((chunk for chunk in self._chunks if len(chunk)), None)
            if first is None:  # past an end that nobody has met
                self.length = sum(map(len, self.read(0)))
                if self.length:
                    self._seek(start)
                    return
            self._left = first
        self._at = start

    def _next(self) -> Examples:
        for _ in range(2):
            assert self._chunks is not None
            for chunk in self._chunks:
                if len(chunk):
                    return chunk
            if self.length == _UNKNOWN:
                self.length = self._at
            self._chunks = iter(self.read(0))
        raise DataError("feed stream: the stream gives no examples")


def joined(pieces: Sequence[Examples]) -> Examples:
    """Examples one after the other."""
    return pieces[0] if len(pieces) == 1 else Examples.concat(pieces)


def _spec_of(read: Callable[[int], Iterable[Examples]]) -> Spec:
    first = next(iter(read(0)), None)
    if not isinstance(first, Examples) or not len(first):
        got = "nothing" if first is None else type(first).__name__
        raise DataError(f"feed stream: read(0) must yield flowloom.data.Examples, and gave {got}")
    return Tensors(first.x, first.cond).spec
