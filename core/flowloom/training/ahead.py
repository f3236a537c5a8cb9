"""Batches by number, optionally one ahead in a thread."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch

from flowloom.couplings import Independent
from flowloom.objectives import Batch
from flowloom.seeds import generator
from flowloom.training.feeds import Feed


class Batches:
    """The batches of a feed by number.

    Args:
        feed: started already.
        ahead: prepare the next batch in a thread while this one is used.
        stride: how far apart the batches are that will be asked for.
    """

    def __init__(self, feed: Feed, *, ahead: bool = False, stride: int = 1) -> None:
        self.feed, self.stride = feed, stride
        self._pool = ThreadPoolExecutor(1, "flowloom-batches") if ahead else None
        self._next: tuple[int, Future[Batch]] | None = None

    def __getitem__(self, number: int) -> Batch:
        """Batch ``number``; the same one whenever it is asked for."""
        if self._pool is None:
            return self._draw(number)
        following = number + self.stride
        waiting, self._next = self._next, (following, self._pool.submit(self._draw, following))
        if waiting is not None and waiting[0] == number:
            return waiting[1].result()
        return self._draw(number)

    @torch.no_grad()
    def _draw(self, number: int) -> Batch:
        feeding = self.feed.feeding
        return self.feed.batch(number, generator(feeding.seed, "source", number, feeding.device))

    def close(self) -> None:
        """Stop the thread, if there is one."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def wants_thread(setting: str, feed: Feed) -> bool:
    """Whether ``prefetch`` asks for a thread: always, never, or where there is work to hide.

    Never where the feed looks at the model: a batch drawn ahead would not have seen the last look.
    """
    if feed.refresh_every or setting == "off":
        return False
    return setting == "on" or feed.reads_files or not isinstance(feed.feeding.flow.coupling, Independent)
