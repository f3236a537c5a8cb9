"""Plain regression: behaviour cloning, inverse dynamics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.fields import Field, Kind, NetworkField
from flowloom.layout import Layout, mean_of_entries
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
        """The squared error, a mean over entries that are real and free."""
        layout, x1 = batch.layout, batch.x1
        assert isinstance(x1, Tensor)
        x1 = x1 if layout is None else layout.fill(x1)
        zero = _nothing(x1, None if layout is None else layout.holding(x1))
        off = model(zero, x1.new_zeros(len(x1)), **batch.cond) - x1
        off = off if layout is None else layout.still(off)
        return Loss(mean_of_entries(off.square(), None if layout is None else layout.free).mean())

    @property
    def kind(self) -> Kind:
        """Data."""
        return "data"

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The same answer wherever and whenever it is asked."""
        return _Answer(model, "data", self.path, source)


class _Answer(NetworkField):
    def __call__(self, x: State, t: Time, cond: Cond) -> State:
        assert isinstance(x, Tensor)
        spec = getattr(self.model, "spec", None)
        zero = _nothing(x, None if spec is None else Layout.of(spec, cond))
        return super().__call__(zero, map_state(torch.zeros_like, t), cond)


def _nothing(x: Tensor, layout: Layout | None) -> Tensor:
    """State 0, but for what is given."""
    zero = torch.zeros_like(x)
    return zero if layout is None else layout.hold(zero)
