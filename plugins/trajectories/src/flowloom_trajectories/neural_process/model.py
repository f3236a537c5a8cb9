"""A set transformer over points of a function, some known and some on their way."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowloom.conditions import withheld
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models.encoder import EncoderBlock
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import State, Time

__all__ = ["ProcessTransformer"]

FREQUENCIES = 10


def waves(x: Tensor) -> Tensor:
    r"""Sines and cosines of :math:`\pi 2^{k-2} x`, k from 0 to 9, of every coordinate: ``(..., d * 20)``."""
    steps = torch.arange(FREQUENCIES, device=x.device, dtype=x.dtype)
    angle = (math.pi * x[..., None] * 2 ** (steps - 2)).flatten(-2)
    return torch.cat([angle.sin(), angle.cos()], -1)


class ProcessTransformer(nn.Module):
    """Velocities of values at any places, given any points of a function: no order, no grid, any number.

    Points of the condition ``context`` (place, value, 1; zeros are no point) are tokens at time 1 with their
    values as they are; targets are tokens at their own times, with the values that they have so far and the
    condition ``places``. Every token is the waves of place and time beside the value, read by a perceptron;
    all attend to all, and a perceptron answers at the targets. So targets that change places change answers
    with them, exactly, and contexts have no order.

    Args:
        spec: of the states ``(targets, channels)`` with ``places`` and ``context``; injected from the recipe.
        width: of the tokens.
        depth: layers of the encoder.
        heads: of the attention.
        hidden: width inside a layer's perceptron.
        outputs: answers for every value; 2 for a mean and a log deviation.

    Raises:
        IncompatibleError: the data are no functions, or width does not divide into heads.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        width: int = 64,
        depth: int = 6,
        heads: int = 4,
        hidden: int = 128,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, heads=heads, hidden=hidden, outputs=outputs)
        if width % heads:
            raise IncompatibleError(f"width {width} does not divide into {heads} heads")
        if (
            len(spec.shape) != 2
            or spec.vocab is not None
            or not {"places", "context"} <= set(spec.conditions)
        ):
            raise IncompatibleError(
                "process-transformer reads values (targets, channels) with the conditions 'places' and "
                "'context': data: gp-functions or pixel-functions"
            )
        self.spec, self.channels = spec, spec.shape[1]
        self.dims = spec.conditions["places"].shape[1]
        size = 2 * FREQUENCIES * (self.dims + 1) + self.channels
        self.enter = nn.Sequential(nn.Linear(size, width), nn.GELU(), nn.Linear(width, width))
        self.layers = nn.ModuleList(EncoderBlock(width, heads, hidden=hidden) for _ in range(depth))
        self.leave = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, outputs * self.channels)
        )

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """Read values ``(batch, targets, channels)`` at times ``(batch,)`` or ``(batch, targets)``."""
        assert isinstance(x, Tensor) and isinstance(t, Tensor)
        layout = Layout.of(self.spec, cond)
        x = x if layout is None else layout.zero(x)
        n, m, _ = x.shape
        places = cond.get("places")
        places = x.new_zeros(n, m, self.dims) if places is None else places.to(x.dtype)
        off = withheld(cond, "places")
        places = places if off is None else torch.where(off[:, None, None], torch.zeros_like(places), places)
        places = places if layout is None else layout.zero(places)
        time = t.to(x.dtype)
        time = (time[:, None] if time.ndim == 1 else time).expand(n, m)
        tokens = [torch.cat([waves(places), waves(time[..., None]), x], -1)]
        real = None if layout is None or layout.real is None else layout.real.reshape(n, m, -1).any(-1)
        seen = [x.new_ones(n, m, dtype=torch.bool) if real is None else real | ~real.any(1, keepdim=True)]
        told = cond.get("context")
        if told is not None and told.shape[1]:
            told, there = told[..., :-1].to(x.dtype), told[..., -1] > 0
            off = withheld(cond, "context")
            there = there if off is None else there & ~off[:, None]
            # What stands where there is no point reaches nobody, whatever it is.
            told = torch.where(there[..., None], told, torch.zeros((), dtype=x.dtype, device=x.device))
            places, values = told.split([self.dims, self.channels], -1)
            flag = waves(torch.ones_like(places[..., :1]))
            tokens.append(torch.cat([waves(places), flag, values], -1))
            seen.append(there)
        mask = torch.cat(seen, 1)[:, None, None]
        hidden = self.enter(torch.cat(tokens, 1))
        for layer in self.layers:
            hidden = layer(hidden, seen=mask)
        out: Tensor = self.leave(hidden[:, :m])
        return out if layout is None else layout.zero(out)
