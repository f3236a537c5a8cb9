"""The data side of a step: rows, source, coupling; optionally one step ahead in a thread."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch

from flowloom.codecs import Codec
from flowloom.couplings import Coupling, Independent
from flowloom.data.base import Dataset
from flowloom.errors import DataError
from flowloom.objectives import Batch
from flowloom.sources import Source, draw_like
from flowloom.state import take
from flowloom.training.order import EpochOrder
from flowloom.training.seeds import generator


class Batches:
    """Coupled batches by step number.

    Args:
        data: training rows.
        source: law of x0.
        coupling: pairs x0 with x1.
        batch: rows a step.
        seed: of the run.
        device: where batches go.
        codec: encodes data into states, where there is one.
        ahead: prepare the next step's batch in a thread while this one is used.
    """

    def __init__(
        self,
        data: Dataset,
        source: Source,
        coupling: Coupling,
        *,
        batch: int,
        seed: int,
        device: torch.device | str = "cpu",
        codec: Codec | None = None,
        ahead: bool = False,
    ) -> None:
        if len(data) == 0:
            raise DataError("the training data is empty")
        self.data, self.source, self.coupling, self.codec = data, source, coupling, codec
        self.seed, self.device = seed, torch.device(device)
        self.order = EpochOrder(len(data), batch, seed)
        self._pool = ThreadPoolExecutor(1, "flowloom-batches") if ahead else None
        self._next: tuple[int, Future[Batch]] | None = None

    def __getitem__(self, step: int) -> Batch:
        """The batch of ``step``; the same one whenever it is asked for."""
        if self._pool is None:
            return self._draw(step)
        waiting, self._next = self._next, (step + 1, self._pool.submit(self._draw, step + 1))
        if waiting is not None and waiting[0] == step:
            return waiting[1].result()
        return self._draw(step)

    @torch.no_grad()
    def _draw(self, step: int) -> Batch:
        examples = self.data.take(self.order.rows(step)).to(self.device)
        x1 = self.codec.encode(examples.x) if self.codec is not None else examples.x
        draws = generator(self.seed, "source", step, self.device)
        x0 = draw_like(self.source, x1, examples.cond, draws)
        rows = self.coupling.rows(x0, x1, examples.cond, generator=draws)
        return Batch(x0 if rows is None else take(x0, rows), x1, examples.cond)

    def close(self) -> None:
        """Stop the thread, if there is one."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def wants_thread(setting: str, data: Dataset, coupling: Coupling) -> bool:
    """Whether ``prefetch`` asks for a thread: always, never, or where there is work to hide."""
    if setting != "auto":
        return setting == "on"
    return not isinstance(coupling, Independent) or bool(getattr(data, "reads_files", False))
