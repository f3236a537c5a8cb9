"""A feed whose batches are made in processes of their own, coupling included, several steps ahead."""

from __future__ import annotations

import copy
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.data import Dataset
from flowloom.errors import DataError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.objectives import Batch
from flowloom.seeds import generator as generator_of
from flowloom.training import Feeding, Rows
from flowloom.views import View
from flowloom_registry.runs.apart import end_with_parent, without_interrupts

__all__ = ["Beside"]


class Beside(Rows):
    """Rows in shuffled epochs, as `rows`, made by worker processes that run ahead.

    A worker reads rows, applies views, encodes, draws x0 and couples: what takes long there (decoding files,
    an exact assignment of 2048 points) costs the step nothing as long as the workers keep up. A thread cannot
    do that, because assignment solvers hold Python's lock. Batch k is the same whoever makes it; on the CPU
    it has the bits of `rows`. Workers leave Ctrl-C to the training, and end with it however it ends.

    Args:
        data: training rows, which every worker gets a copy of (of data in files, only where they are);
            injected from the recipe.
        views: what is made of them, in order; injected from the recipe.
        workers: processes; 0 makes batches here, when they are asked for.
        ahead: batches that are made before they are asked for.

    Raises:
        DataError: a worker died, or could not make a batch.
    """

    def __init__(self, data: Dataset, views: Sequence[View] = (), workers: int = 1, ahead: int = 4) -> None:
        super().__init__(data, views)
        if workers < 0 or ahead < 1:
            raise ValueError(f"workers must be at least 0 and ahead at least 1, got {workers} and {ahead}")
        self.workers, self.ahead = workers, ahead
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._coming: dict[int, Future[Any]] = {}
        self._last, self._stride = -1, 1

    def start(self, feeding: Feeding) -> None:
        """Remember what batches are made with; workers begin with the first batch, after a restore."""
        super().start(feeding)
        self._stop()
        self._begin()

    def batch(self, number: int, generator: torch.Generator) -> Batch:
        """The rows of that step; the next ones are ordered."""
        if not self.workers:
            return super().batch(number, generator)
        with self._lock:
            if self._pool is None:
                self._pool = self._started()
            # Processes of a shared training ask for every N-th batch.
            if self._last >= 0 and number > self._last:
                self._stride = number - self._last
            self._last = number
            wanted = [number + i * self._stride for i in range(self.ahead + 1)]
            for old in set(self._coming) - set(wanted):
                self._coming.pop(old).cancel()
            with without_interrupts():  # workers are started by the first call
                for one in wanted:
                    if one not in self._coming:
                        self._coming[one] = self._pool.submit(_make, one)
            coming = self._coming[number]
        try:
            made = coming.result()
        except BrokenProcessPool as error:
            raise DataError(
                "feed beside: a process that makes batches died (out of memory?); try fewer workers"
            ) from error
        with self._lock:
            self._coming.pop(number, None)
        x0, x1, cond, said = made
        there = self.feeding.device
        layout = None if said is None else Layout(*(_tensors(one, there) for one in said))
        return Batch(_tensors(x0, there), _tensors(x1, there), _tensors(cond, there), layout)

    def _started(self) -> ProcessPoolExecutor:
        feed = copy.copy(self)
        feed.__dict__.update(workers=0, _lock=None, _pool=None, _coming={})
        feed.feeding = Feeding(_light(self.feeding.flow), self.feeding.size, self.feeding.seed, "cpu")
        return ProcessPoolExecutor(
            self.workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(feed,)
        )

    def _stop(self) -> None:
        pool = self.__dict__.get("_pool")
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def __del__(self) -> None:
        self._stop()


_feed: Beside | None = None
"""Of a worker."""


def _begin(feed: Beside) -> None:
    global _feed
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    torch.set_num_threads(1)
    _feed = feed


def _make(number: int) -> tuple[Any, ...]:
    assert _feed is not None
    with torch.no_grad():
        batch = _feed.batch(number, generator_of(_feed.feeding.seed, "source", number))
    layout = batch.layout
    said = None if layout is None else (layout.real, layout.given, layout.values)
    # As arrays, which travel as bytes: tensors would each take a file handle of shared memory.
    return tuple(map(_arrays, (batch.x0, batch.x1, dict(batch.cond), said)))


def _arrays(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_arrays, value))
    if isinstance(value, dict):
        return {name: _arrays(one) for name, one in value.items()}
    return value.numpy() if isinstance(value, Tensor) else value


def _tensors(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, dict):
        return {name: _tensors(one, device) for name, one in value.items()}
    return None if value is None else torch.from_numpy(value).to(device)


class _Absent(nn.Module):
    """Stands for a network that no batch asks; tells the precision that states are drawn in."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.zeros((), dtype=dtype), requires_grad=False)


def _light(flow: Flow) -> Flow:
    """A copy of a flow on the CPU, without its networks."""
    shallow = copy.copy(flow)
    shallow._modules = dict(flow._modules)
    shallow._modules["model"] = _Absent(flow.dtype)
    shallow._modules["roles"] = nn.ModuleDict()
    return copy.deepcopy(shallow).cpu()
