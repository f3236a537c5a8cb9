"""A transformer over scene, goal and waypoints that looks at neighbours only."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowloom.conditions import withheld
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import TimeEmbedding
from flowloom.models.attention import rotary
from flowloom.models.embeddings import ConditionEmbedding, sinusoid
from flowloom.models.encoder import EncoderBlock
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import State, Time

__all__ = ["GoalTransformer"]


class GoalTransformer(nn.Module):
    """Tokens of the scene, of the goal and of every waypoint, each beside the time (2503.05689, section 3.3).

    Self-attention reaches ``reach`` tokens to either side, with rotary positions; the scene and the goal
    stand before the waypoints, and reach them through the layers. Withheld conditions are learned vectors,
    each by itself.

    Args:
        spec: of ways ``(waypoints, channels)`` with the conditions ``goal`` and others; injected.
        width: of the tokens.
        depth: layers.
        heads: of the attention.
        reach: of the band.

    Raises:
        IncompatibleError: the data are no ways with a goal.
    """

    conditional = True

    def __init__(self, spec: Spec, width: int = 256, depth: int = 8, heads: int = 8, reach: int = 1) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, heads=heads, reach=reach)
        if len(spec.shape) != 2 or spec.vocab is not None or "goal" not in spec.conditions:
            raise IncompatibleError("goal-transformer reads ways (waypoints, channels) with a 'goal'")
        if width % (2 * heads):
            raise IncompatibleError(f"width {width} does not divide into {heads} heads of even size")
        self.spec, self.heads, self.reach, self.width = spec, heads, reach, width
        self.names = tuple(name for name in spec.named("inform") if name != "goal")
        self.scene = ConditionEmbedding({name: spec.conditions[name] for name in self.names}, width)
        self.goal = nn.Linear(math.prod(spec.conditions["goal"].shape) * width, width)
        self.pose = nn.Linear(spec.shape[1], width)
        self.null = nn.Parameter(0.02 * torch.randn(width))  # of the goal
        self.time = TimeEmbedding(width)
        self.join = nn.Linear(2 * width, width)
        self.layers = nn.ModuleList(EncoderBlock(width, heads) for _ in range(depth))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, spec.shape[1]))

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """Read a way at a time; see `flowloom.models.Model`."""
        assert isinstance(x, Tensor) and isinstance(t, Tensor)
        layout = Layout.of(self.spec, cond)
        poses = self.pose(x if layout is None else layout.zero(x))
        n, length = poses.shape[0], poses.shape[1] + 2
        hidden = torch.cat([self._scene(cond, n)[:, None], self._goal(cond, n)[:, None], poses], 1)
        time = self.time(t if t.ndim == 1 else t.flatten(1).mean(1))[:, None].expand(-1, length, -1)
        hidden = self.join(torch.cat([hidden, time], -1))
        place = torch.arange(length, device=x.device)
        band = (place[:, None] - place).abs() <= self.reach
        angles = rotary(length, self.width // self.heads, hidden)
        for layer in self.layers:
            hidden = layer(hidden, angles, seen=band)
        out: Tensor = self.leave(hidden[:, 2:])
        return out if layout is None else layout.zero(out)

    def _scene(self, cond: dict[str, Tensor], n: int) -> Tensor:
        found = self.scene(cond, n)
        return found if isinstance(found, Tensor) else self.null.new_zeros(n, self.width)

    def _goal(self, cond: dict[str, Tensor], n: int) -> Tensor:
        null = self.null.expand(n, -1)
        if cond.get("goal") is None:
            return null
        # Metres: waves from that of 25 m down to that of half a metre.
        found = self.goal(sinusoid(cond["goal"].flatten(1).to(null.dtype), self.width).flatten(1))
        off = withheld(cond, "goal")
        return found if off is None else torch.where(off[:, None], null, found)
