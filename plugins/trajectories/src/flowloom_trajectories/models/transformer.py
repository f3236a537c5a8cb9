"""A transformer over the steps of a state, what was seen before them, and others around."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.conditions import withheld
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.models.attention import attend
from flowloom.models.sizes import require_sizes
from flowloom.module_names import module_name
from flowloom.spec import Condition, Spec
from flowloom.state import State, Time
from flowloom_trajectories.models.steps import Steps, one_time

__all__ = ["TimeTransformer"]


class TimeTransformer(nn.Module):
    """Reads all steps of a state together with its context as one sequence of tokens.

    Every step of the state is a token; so is every step of a condition ``(steps, channels)``, such as a past;
    so is every member of a set, a condition ``(members, ...)`` named in ``sets``, such as neighbours. Members
    have no place, so their order changes nothing, and one of zeros alone is absent. All other conditions and
    the time scale, shift and gate every block (adaLN-Zero, 2212.09748).

    Args:
        spec: of the states ``(steps, channels)``.
        width: of the tokens.
        depth: number of blocks.
        heads: of the attention.
        sets: conditions whose first dimension has no order; names that the data lack are left out.

    Raises:
        IncompatibleError: states are something else, or width does not divide into heads.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        sets: tuple[str, ...] = ("neighbours",),
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, heads=heads)
        if width % heads:
            raise IncompatibleError(f"width {width} does not divide into {heads} heads")
        self.spec, self.form = spec, Steps(spec, "time-transformer")
        told = {name: spec.conditions[name] for name in spec.named("inform")}
        self.unordered = tuple(name for name in sets if name in told)
        for name in self.unordered:
            if told[name].classes is not None or len(told[name].shape) < 2:
                raise IncompatibleError(f"set '{name}' has shape {told[name].shape}; it takes (members, ...)")
        self.series = tuple(
            name
            for name, one in told.items()
            if name not in self.unordered and one.classes is None and len(one.shape) == 2
        )
        rest = {k: c for k, c in spec.conditions.items() if k not in (*self.unordered, *self.series)}
        self.enter = nn.Linear(self.form.width, width)
        self.place = nn.Parameter(0.02 * torch.randn(self.form.steps, width))
        self.context = nn.ModuleDict({module_name(k): _Series(told[k], width) for k in self.series})
        self.members = nn.ModuleDict({module_name(k): _Members(told[k], width) for k in self.unordered})
        self.time = TimeEmbedding(width)
        self.condition = ConditionEmbedding(rest, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = _zeroed(nn.Linear(width, 2 * width))
        self.leave = _zeroed(nn.Linear(width, self.form.channels))

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """Read a state at a time; see `flowloom.models.Model`."""
        layout = Layout.of(self.spec, cond)
        assert isinstance(t, Tensor)
        hidden = self.enter(self.form.read(x, layout)) + self.place
        n, steps, _ = hidden.shape
        context = F.silu(self.time(one_time(t)) + self.condition(cond, n))[:, None]
        tokens, seen = [hidden], [_steps_real(layout, hidden)]
        for name in self.series:
            tokens.append(self.context[module_name(name)](cond.get(name), withheld(cond, name), n))
            seen.append(hidden.new_ones(tokens[-1].shape[:2], dtype=torch.bool))
        for name in self.unordered:
            members, there = self.members[module_name(name)](cond.get(name), withheld(cond, name), n)
            tokens.append(members)
            seen.append(there)
        hidden, mask = torch.cat(tokens, 1), torch.cat(seen, 1)
        for block in self.blocks:
            hidden = block(hidden, context, mask[:, None, None])
        shift, scale = self.modulate(context).chunk(2, -1)
        out = self.leave(self.norm(hidden[:, :steps]) * (1 + scale) + shift)
        return out if layout is None else layout.zero(out)


class _Series(nn.Module):
    """Steps of a condition as tokens, each with its place; learned ones where it is withheld."""

    def __init__(self, condition: Condition, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(condition.shape[1], width)
        self.place = nn.Parameter(0.02 * torch.randn(condition.shape[0], width))
        self.null = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, value: Tensor | None, off: Tensor | None, n: int) -> Tensor:
        null = self.null.expand(n, len(self.place), -1)
        if value is None:
            return null + self.place
        tokens = self.enter(value.to(self.place.dtype))
        return (tokens if off is None else torch.where(off[:, None, None], null, tokens)) + self.place


class _Members(nn.Module):
    """Members of a set as tokens without a place; learned ones where it is withheld."""

    def __init__(self, condition: Condition, width: int) -> None:
        super().__init__()
        self.size = condition.shape[0]
        self.enter = nn.Sequential(
            nn.Linear(math.prod(condition.shape[1:]), width), nn.SiLU(), nn.Linear(width, width)
        )
        self.null = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, value: Tensor | None, off: Tensor | None, n: int) -> tuple[Tensor, Tensor]:
        null = self.null.expand(n, self.size, -1)
        if value is None:
            return null, torch.ones(n, self.size, dtype=torch.bool, device=null.device)
        flat = value.flatten(2).to(self.null.dtype)
        there, tokens = (flat != 0).any(-1), self.enter(flat)
        if off is None:
            return tokens, there
        return torch.where(off[:, None, None], null, tokens), there | off[:, None]


class _Block(nn.Module):
    """Attention and MLP, each scaled, shifted and gated by time and conditions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first = nn.LayerNorm(width, elementwise_affine=False)
        self.second = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))
        self.modulate = _zeroed(nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, context: Tensor, seen: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulate(context).chunk(6, -1)
        n, length, width = x.shape
        qkv = self.qkv(self.first(x) * (1 + scale1) + shift1)
        q, k, v = qkv.reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v, seen).transpose(1, 2).reshape(n, length, width)
        x = x + gate1 * self.join(mixed)
        return x + gate2 * self.mlp(self.second(x) * (1 + scale2) + shift2)


def _steps_real(layout: Layout | None, hidden: Tensor) -> Tensor:
    """Steps of which anything is real; all of a row of padding alone, which would attend to nothing."""
    if layout is None or layout.real is None:
        return hidden.new_ones(hidden.shape[:2], dtype=torch.bool)
    real = layout.real.flatten(2).any(2) if layout.real.ndim > 2 else layout.real
    return real | ~real.any(1, keepdim=True)


def _zeroed(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
