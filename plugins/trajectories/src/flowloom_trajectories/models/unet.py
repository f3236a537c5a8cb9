"""A U-Net over time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import State, Time
from flowloom_trajectories.models.steps import Steps, one_time

__all__ = ["TemporalUNet"]


class TemporalUNet(nn.Module):
    """One-dimensional U-Net of residual convolutions along time, as in Diffuser (Janner et al. 2205.09991).

    Two blocks at every scale, each of two convolutions with group norms that time and conditions scale and
    shift; steps are halved between scales. Any number of steps will do.

    Args:
        spec: of the states ``(steps, channels)``.
        width: channels of the first scale.
        multipliers: channels of every scale, as multiples of ``width``.
        kernel: of the convolutions, odd.
        groups: of the norms, at most.

    Raises:
        IncompatibleError: states are something else.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        width: int = 32,
        multipliers: tuple[int, ...] = (1, 2, 4),
        kernel: int = 5,
        groups: int = 8,
    ) -> None:
        super().__init__()
        require_sizes(
            width=width,
            kernel=kernel,
            groups=groups,
            **{f"multipliers[{i}]": m for i, m in enumerate(multipliers)},
        )
        if kernel % 2 == 0 or not multipliers:
            raise IncompatibleError(
                f"kernel must be odd and multipliers not empty, got {kernel}, {multipliers}"
            )
        self.spec, self.form = spec, Steps(spec, "temporal-unet")
        inner = 4 * width
        self.time = TimeEmbedding(inner)
        self.condition = ConditionEmbedding(spec.conditions, inner)
        sizes = [width * m for m in multipliers]

        def pair(into: int, out: int) -> _Pair:
            return _Pair(into, out, inner, kernel, groups)

        self.enter = nn.Conv1d(self.form.width, sizes[0], 1)
        self.down = nn.ModuleList(
            pair(before, size) for before, size in zip([sizes[0], *sizes], sizes, strict=False)
        )
        self.halve = nn.ModuleList(nn.Conv1d(size, size, 3, 2, 1) for size in sizes[:-1])
        self.middle = pair(sizes[-1], sizes[-1])
        self.up = nn.ModuleList(
            pair(after + size, size) for size, after in zip(sizes[-2::-1], sizes[:0:-1], strict=True)
        )
        self.twice = nn.ModuleList(nn.Conv1d(size, size, 3, padding=1) for size in sizes[:0:-1])
        self.leave = nn.Conv1d(sizes[0], self.form.channels, 1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """Read a state at a time; see `flowloom.models.Model`."""
        layout = Layout.of(self.spec, cond)
        assert isinstance(t, Tensor)
        read = self.form.read(x, layout)
        context = F.silu(self.time(one_time(t)) + self.condition(cond, len(read)))
        hidden = self.enter(read.transpose(1, 2))
        kept: list[Tensor] = []
        for i, pair in enumerate(self.down):
            hidden = pair(hidden, context)
            if i < len(self.halve):
                kept.append(hidden)
                hidden = self.halve[i](hidden)
        hidden = self.middle(hidden, context)
        for twice, pair in zip(self.twice, self.up, strict=True):
            skip = kept.pop()
            hidden = twice(hidden.repeat_interleave(2, -1)[..., : skip.shape[-1]])
            hidden = pair(torch.cat([hidden, skip], 1), context)
        out = self.leave(hidden).transpose(1, 2)
        return out if layout is None else layout.zero(out)


class _Pair(nn.Module):
    """Two residual blocks at one scale."""

    def __init__(self, into: int, out: int, context: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.first = _Residual(into, out, context, kernel, groups)
        self.second = _Residual(out, out, context, kernel, groups)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.second(self.first(x, context), context)


class _Residual(nn.Module):
    """Two convolutions, each normalised and modulated, beside a straight way."""

    def __init__(self, into: int, out: int, context: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(into, out, kernel, padding=kernel // 2)
        self.second = nn.Conv1d(out, out, kernel, padding=kernel // 2)
        self.norm = nn.GroupNorm(math.gcd(groups, out), out, affine=False)
        self.modulate = nn.Linear(context, 4 * out)
        self.straight = nn.Conv1d(into, out, 1) if into != out else nn.Identity()

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        scale1, shift1, scale2, shift2 = self.modulate(context)[..., None].chunk(4, 1)
        hidden = F.silu(self.norm(self.first(x)) * (1 + scale1) + shift1)
        hidden = F.silu(self.norm(self.second(hidden)) * (1 + scale2) + shift2)
        return hidden + self.straight(x)
