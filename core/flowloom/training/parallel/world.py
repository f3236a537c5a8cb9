"""The processes of a training, and what they tell each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from flowloom.errors import ProcessLostError, StoppedElsewhereError
from flowloom.training.parallel.last_words import word_of_another

__all__ = ["World", "averaged", "in_shares", "whole"]


@dataclass(frozen=True)
class World:
    """This process among those of a training.

    Args:
        rank: number of this process, from 0.
        size: number of all.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def now(cls) -> World:
        """The processes of the present default group; this one alone where there is no group."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this is the one that prints, writes and reports."""
        return self.rank == 0

    def __deepcopy__(self, memo: object) -> World:
        return self

    def rows(self, n: int) -> tuple[int, int]:
        """First and last (exclusive) of the rows that are this process's of ``n``."""
        return n * self.rank // self.size, n * (self.rank + 1) // self.size

    def any(self, flag: bool) -> bool:
        """Whether any process says so; all of them ask, and wait for each other."""
        if self.size == 1:
            return flag
        told = torch.tensor(int(flag))
        with noticing_loss():
            dist.all_reduce(told, op=dist.ReduceOp.MAX)
        return bool(told)

    def gathered(self, rows: Tensor, n: int) -> Tensor:
        """The ``n`` rows of all processes in order, from this one's share as `rows` counts it. Any dtype."""
        sizes = [n * (r + 1) // self.size - n * r // self.size for r in range(self.size)]
        most = max(sizes)
        own = rows.detach().contiguous()
        if len(own) < most:
            own = torch.cat([own, own.new_zeros((most - len(own), *own.shape[1:]))])
        # As bytes, because backends lack one dtype or another.
        flat = own.reshape(-1).view(torch.uint8)
        out = flat.new_empty((self.size, flat.numel()))
        with noticing_loss():
            dist.all_gather(list(out), flat)
        every = out.view(-1).view(rows.dtype).reshape(self.size, most, *rows.shape[1:])
        if most * self.size == n:
            return every.flatten(0, 1)
        return torch.cat([piece[:size] for piece, size in zip(every, sizes, strict=True)])

    @torch.no_grad()
    def average_(self, values: Sequence[Tensor]) -> None:
        """Replace tensors of one dtype by their means over the processes."""
        if self.size == 1 or not values:
            return
        flat = torch.cat([v.reshape(-1) for v in values])
        with noticing_loss():
            dist.all_reduce(flat)
        flat /= self.size
        for value, piece in zip(values, flat.split([v.numel() for v in values]), strict=True):
            value.copy_(piece.view_as(value))

    def average_of(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scalars by name, averaged over the processes."""
        if self.size == 1 or not values:
            return dict(values)
        stacked = torch.stack([v.detach().float() for v in values.values()])
        self.average_([stacked])
        return dict(zip(values, stacked, strict=True))

    @torch.no_grad()
    def take_from_first(self, values: Sequence[Tensor]) -> None:
        """Replace tensors by those of the first process, which have the same shapes."""
        for value in values if self.size > 1 else ():
            same = value.contiguous()
            with noticing_loss():
                dist.broadcast(same, 0)
            if same is not value:
                value.copy_(same)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What fails inside in one process ends all of them. Nothing inside waits for other processes.

        Raises:
            StoppedElsewhereError: it failed in another process, which tells it.
        """
        try:
            yield
        except BaseException:
            with suppress(ProcessLostError):  # there may be nobody left to tell
                self.any(True)
            raise
        if self.any(False):
            raise StoppedElsewhereError("another process of this training stopped")


@contextmanager
def noticing_loss() -> Iterator[None]:
    """Say in one line that another process is gone, where a collective fails of it: those of torch's engines
    too. Nothing is noticed by one process alone.

    Raises:
        ProcessLostError: it is.
    """
    try:
        yield
    except RuntimeError as error:
        if World.now().size == 1:
            raise
        if isinstance(error, dist.DistError) or "onnection" in str(error) or "gloo" in str(error):
            raise ProcessLostError(word_of_another()) from error
        raise


def averaged(values: Tensor) -> Tensor:
    """The mean over all processes; what a combiner must take of gradients before it does anything that is not
    linear."""
    World.now().average_([values])
    return values


def in_shares(value: Tensor) -> bool:
    """Whether a tensor lies in shares in several processes."""
    if type(value) in (Tensor, nn.Parameter):
        return False
    from torch.distributed.tensor import DTensor  # slow to import, and of use to few

    return isinstance(value, DTensor)


def whole(value: Tensor) -> Tensor:
    """All of a tensor that may lie in shares in several processes, which then all ask for it."""
    return value.full_tensor() if in_shares(value) else value  # type: ignore[attr-defined]
