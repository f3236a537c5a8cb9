"""Plain regression: behaviour cloning, inverse dynamics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.fields import Field, Kind, NetworkField
from flowloom.objectives import Batch, FlowMatching, Loss, Step
from flowloom.paths import Path
from flowloom.sources import Source
from flowloom.state import Cond, State, Time, map_state

__all__ = ["Regression"]


class Regression(FlowMatching):
    r"""The mean of x1 under its conditions, :math:`E\,\|f(c) - x_1\|^2`: nothing in its answers is random.

    The network is asked at state 0 and time 0, and what it says is the answer; ``solver: {use: euler,
    steps: 1}`` gives it.

    Args:
        path: see `FlowMatching`.
    """

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(path, predict="data")

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """The squared error, a mean over entries."""
        t = torch.zeros(len(batch.x1), device=batch.x1.device) if isinstance(batch.x1, Tensor) else None
        assert t is not None
        zero = map_state(torch.zeros_like, batch.x1)
        return Loss((model(zero, t.to(batch.x1.dtype), **batch.cond) - batch.x1).square().mean())

    @property
    def kind(self) -> Kind:
        """Data."""
        return "data"

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The same answer wherever and whenever it is asked."""
        return _Answer(model, "data", self.path, source)


class _Answer(NetworkField):
    def __call__(self, x: State, t: Time, cond: Cond) -> State:
        return super().__call__(map_state(torch.zeros_like, x), map_state(torch.zeros_like, t), cond)
