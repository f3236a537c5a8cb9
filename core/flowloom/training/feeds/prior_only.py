"""Batches without any data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from flowloom.draw import Draw
from flowloom.objectives import Batch
from flowloom.spec import Spec
from flowloom.state import with_batch
from flowloom.training.feeds.base import Feed, spec_told


class PriorOnly(Feed):
    """No data at all: x0 from the source, for objectives that make their own targets (samplers of an energy).

    Both ends of a batch are the same draw.

    Args:
        shape: event shape of a state, or one shape for every part.
        vocab: number of tokens where states are tokens.
    """

    def __init__(
        self, shape: Sequence[int] | Mapping[str, Sequence[int]] = (), vocab: int | None = None
    ) -> None:
        self._spec = spec_told(shape, vocab)

    @property
    def spec(self) -> Spec:
        """Of the states."""
        return self._spec

    def batch(self, number: int, generator: torch.Generator) -> Batch:
        """A draw of the source."""
        flow, feeding = self.feeding.flow, self.feeding
        shape = with_batch(self._spec.event_shape(), feeding.size)
        x0 = flow.source.noise(shape, Draw(generator, device=feeding.device))
        return Batch(x0, x0)
