"""Draws of ways beside their truth, as every metric of forecasts looks at them."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.metrics.pairs import drawn_rows

__all__ = ["ways"]


def ways(samples: Examples, real: Examples, who: str) -> tuple[Tensor, Tensor, Tensor]:
    """Draws ``(K, n, steps, d)``, truth ``(n, steps, d)`` and which steps count, ``(n, steps)``; float64.

    A step counts where it is real and not given; 0 stands at all others.

    Raises:
        IncompatibleError: states are no positions over time.
        ShapeError: no step counts.
    """
    truth = real.x
    if not isinstance(truth, Tensor) or truth.ndim != 3 or not truth.is_floating_point():
        raise IncompatibleError(f"{who} judges ways (steps, coordinates); these states are something else")
    free = None if real.layout is None else real.layout.free
    counts = torch.ones(truth.shape[:2], dtype=torch.bool)
    if free is not None:
        wide = free.reshape(free.shape + (1,) * (3 - free.ndim)).expand(truth.shape)
        counts = wide.all(-1)
    if not bool(counts.any()):
        raise ShapeError("no step of these rows counts: all are padding or given")
    zero = torch.zeros((), dtype=torch.float64)
    drawn = [torch.where(counts[..., None], _tensor(one).double(), zero) for one in drawn_rows(samples, real)]
    return torch.stack(drawn), torch.where(counts[..., None], truth.double(), zero), counts


def _tensor(examples: Examples) -> Tensor:
    assert isinstance(examples.x, Tensor)
    return examples.x
