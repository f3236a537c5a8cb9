"""A buffer of what the flow drew, to learn from again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowloom.data.base import Dataset, Examples
from flowloom.data.records import examples_of, records
from flowloom.objectives import Batch
from flowloom.state import concat
from flowloom.training.feeds.base import paired
from flowloom.training.feeds.own import OwnFeed
from flowloom.views import View

if TYPE_CHECKING:
    from flowloom.flow import Flow


class Replay(OwnFeed):
    """Batches of the flow's own samples out of a buffer, beside rows of data where there are any.

    Every ``every`` steps, the first included, the flow draws ``fresh`` samples, under the conditions of
    random rows of the data; the oldest leave the buffer when it is full. A share of each batch comes from it.
    What is kept, and what a batch makes of it, a subclass may change (`collect`, `made`): transitions with
    their rewards, say.

    Args:
        data: training rows; injected from the recipe. None for samples alone, which ``shape`` then describes.
        views: what is made of the rows, in order; injected from the recipe.
        capacity: records in the buffer.
        fresh: records a look.
        every: steps between looks at the flow.
        share: of a batch that comes from the buffer; all of it where there are no data.
        shape: event shape of the states where there are no data, or one shape for every part.
        vocab: number of tokens there, where states are tokens.
    """

    def __init__(
        self,
        data: Dataset | None = None,
        views: Sequence[View] = (),
        capacity: int = 10_000,
        fresh: int = 256,
        every: int = 100,
        share: float = 0.5,
        shape: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
        vocab: int | None = None,
    ) -> None:
        super().__init__(data, views, shape, vocab, every)
        if not 0 <= share <= 1 or not 1 <= fresh <= capacity:
            raise ValueError(
                f"replay takes share in [0, 1] and 1 <= fresh <= capacity; got share={share}, fresh={fresh}, "
                f"capacity={capacity}"
            )
        self.capacity, self.fresh = capacity, fresh
        self.share = 1.0 if self.rows is None else share

    def refresh(self, flow: Flow, step: int, generator: torch.Generator) -> Mapping[str, float]:
        """Let the flow draw, and keep it."""
        new = self.collect(flow, step, generator)
        old = self.kept or {name: value[:0] for name, value in new.items()}
        self.kept = {name: torch.cat([old[name], value])[-self.capacity :] for name, value in new.items()}
        return {"replayed": float(self.stored)}

    def collect(self, flow: Flow, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Records to keep, tensors of any shape with one row a record, by name; here, samples of the flow.

        Args:
            flow: in evaluation mode.
            step: of training.
            generator: of everything drawn, on the device of the flow.
        """
        rows = self.asked(self.fresh, step)
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        solution = flow.solve(self.fresh, seed=seed, cond=None if rows is None else rows.cond)
        cond = solution.cond if rows is None else flow.encode(rows, generator).cond
        return records(solution.x, "x", cond)

    def made(self, kept: Mapping[str, Tensor], number: int, generator: torch.Generator) -> Batch:
        """A batch of some records and, where there are data, of the rest of the batch in rows of it."""
        own = examples_of(kept, "x")
        rest = self.feeding.size - len(own)
        if self.rows is not None and rest:
            seen = self.rows.seen(number).take(torch.arange(rest)).to(self.feeding.device)
            rows = self.feeding.flow.encode(seen, generator)
            cond = {name: torch.cat([own.cond[name], value]) for name, value in rows.cond.items()}
            own = Examples(concat([own.x, rows.x]), cond)
        return paired(self.feeding, own, generator)

    def batch(self, number: int, generator: torch.Generator) -> Batch:
        """Records of the buffer, and rows of data."""
        count = round(self.share * self.feeding.size)
        if not count and self.rows is not None:
            return self.rows.batch(number, generator)
        return self.made(self.chosen(count, number), number, generator)
