"""An MLP on angles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowloom.layout import Layout
from flowloom.models import MLP
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import State


class PeriodicMLP(nn.Module):
    """An MLP that sees every coordinate through its cosine and sine, so that it is smooth across the seam.

    Padding is not seen, and answered with 0; marks of what is given are read beside the angles.

    Args:
        spec: of the data: one real tensor of angles.
        width: of the hidden layers.
        depth: number of hidden layers.
        harmonics: multiples of the angle that are seen, from 1.
        periods: one period for all coordinates, or one for each entry of the last dimension.
    """

    conditional = True
    rate: Tensor

    def __init__(
        self,
        spec: Spec,
        width: int = 256,
        depth: int = 3,
        harmonics: int = 2,
        periods: float | Sequence[float] = 2 * math.pi,
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth)
        if spec.parts or spec.discrete:
            raise ValueError(f"PeriodicMLP reads one real tensor of angles, not {spec.event_shape()}")
        if harmonics < 1:
            raise ValueError(f"harmonics must be at least 1, got {harmonics}")
        self.spec, self.harmonics = spec, harmonics
        period = torch.as_tensor(periods, dtype=torch.float32)
        self.register_buffer("rate", 2 * math.pi / period)
        self.given = spec.named("given")
        marks = sum(math.prod(spec.conditions[name].shape) for name in self.given)
        # The body reads one flat vector, of which no layout speaks.
        told = {n: c for n, c in spec.conditions.items() if c.role in ("inform", "setting")}
        seen = Spec(shape=(2 * harmonics * spec.numel() + marks,), conditions=told)
        self.body = MLP(seen, width, depth)
        self.head = nn.Linear(seen.numel(), spec.numel())

    def forward(self, x: State, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Read angles ``(batch, *event)``; see `flowloom.models.Model`."""
        assert isinstance(x, Tensor)
        layout = Layout.of(self.spec, cond) or Layout()
        angle = x * self.rate
        waves = [f(k * angle) for k in range(1, self.harmonics + 1) for f in (torch.cos, torch.sin)]
        seen = [layout.zero(torch.stack(waves, -1)).flatten(1)]
        for name in self.given:
            shape = (len(x), math.prod(self.spec.conditions[name].shape))
            marks = cond.get(name)
            seen.append(x.new_zeros(shape) if marks is None else marks.reshape(shape).to(x.dtype))
        hidden = self.body(torch.cat(seen, 1), t, **cond)
        assert isinstance(hidden, Tensor)
        out: Tensor = layout.zero(self.head(hidden).reshape(x.shape))
        return out
