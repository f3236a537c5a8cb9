"""Pairs that the flow made itself: reflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from flowloom.data.base import Dataset
from flowloom.data.records import examples_of, records
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.objectives import Batch
from flowloom.state import Shape, with_batch
from flowloom.training.feeds.base import Feeding
from flowloom.training.feeds.own import OwnFeed
from flowloom.views import View

if TYPE_CHECKING:
    from flowloom.flow import Flow


class SelfGenerated(OwnFeed):
    r"""Pairs :math:`(x_0, x_1)` in which x1 is where the present flow takes x0, made anew now and then.

    Learning them straightens the flow's own trajectories (reflow, Liu et al. 2209.03003). Until step
    ``after`` batches are rows of the data, so that there is a flow to speak of; from then on they are pairs
    alone, in the pairing that the flow gave them. Pairs are solved by the flow's own solver, guidance
    included, under the conditions of random rows of the data.

    Args:
        data: training rows; injected from the recipe.
        views: what is made of them, in order; injected from the recipe.
        pairs: how many are made at a look.
        every: steps between looks at the flow.
        after: step from which pairs are learned; a multiple of ``every``.
        batch: pairs solved at a time.
    """

    def __init__(
        self,
        data: Dataset,
        views: Sequence[View] = (),
        pairs: int = 4096,
        every: int = 1000,
        after: int = 1000,
        batch: int = 1024,
    ) -> None:
        super().__init__(data, views, None, None, every)
        if pairs < 1 or batch < 1 or after < 0 or after % every:
            raise ValueError(
                f"self-generated takes pairs and batch of at least 1, and after in multiples of every; got "
                f"pairs={pairs}, batch={batch}, after={after}, every={every}"
            )
        self.pairs, self.after, self.at_once = pairs, after, batch

    def start(self, feeding: Feeding) -> None:
        """Remember what batches are made with.

        Raises:
            IncompatibleError: the solver is stochastic, so that x1 does not belong to x0.
        """
        super().start(feeding)
        if feeding.flow.solver.stochastic:
            raise IncompatibleError(
                f"feed self-generated pairs x0 with where the flow takes it, and solver "
                f"{type(feeding.flow.solver).__name__} is stochastic; take an ODE solver such as heun"
            )

    def refresh(self, flow: Flow, step: int, generator: torch.Generator) -> Mapping[str, float]:
        """Make the pairs anew."""
        if step < self.after:
            return {}
        rows = self.asked(self.pairs, step)
        assert rows is not None
        states = flow.encode(rows, generator)
        shape: Shape = with_batch(flow.spec.event_shape(), self.pairs)
        place = Draw(generator, device=self.feeding.device, dtype=flow.dtype)
        noise = flow.source.noise(shape, place, cond=states.cond)
        x0 = flow.source.push(noise, states.cond)
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        x1 = flow.solve(x0=x0, seed=seed, batch=self.at_once, cond=rows.cond).x
        # Noise is kept, not x0: a learned source pushes it anew in each step.
        self.kept = records(noise, "x0") | records(x1, "x1", states.cond)
        return {"pairs": float(self.stored)}

    def batch(self, number: int, generator: torch.Generator) -> Batch:
        """Pairs; rows of data before there are any."""
        if not self.stored:
            assert self.rows is not None
            return self.rows.batch(number, generator)
        kept = self.chosen(self.feeding.size, number)
        x0, x1 = examples_of(kept, "x0"), examples_of(kept, "x1")
        return Batch(x0.x, x1.x, x1.cond, self.feeding.flow.layout(x1.cond))
