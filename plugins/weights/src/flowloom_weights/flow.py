"""The flow of DeepWeightFlow: its network, and its path with a little noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.geometry import Geometry
from flowloom.layout import Layout
from flowloom.models import ConditionEmbedding
from flowloom.models.sizes import require_sizes
from flowloom.paths import AffinePath, Point
from flowloom.schedules import Schedule
from flowloom.spec import Spec
from flowloom.state import State, Time, map_state

__all__ = ["Bottleneck", "NoisyPath"]


class Bottleneck(nn.Module):
    """Three layers with a narrow one between, and a time that is embedded by two.

    ``Linear(D + e, h), LayerNorm, GELU, Dropout, Linear(h, h/2), LayerNorm, GELU, Dropout, Linear(h/2, h),
    LayerNorm, GELU, Linear(h, D)``, the last one zero at the start; the time enters as
    ``Linear(1, e), GELU, Linear(e, e)`` beside the state.

    Args:
        spec: of the states, which are flattened.
        width: h, even.
        time: e.
        dropout: while training.

    Raises:
        IncompatibleError: states are tokens or have parts.
    """

    conditional = True

    def __init__(self, spec: Spec, width: int = 64, time: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        if width < 2 or width % 2 or not 0 <= dropout < 1:
            raise ValueError(f"width is even and dropout in [0, 1), got {width} and {dropout}")
        require_sizes(time=time)
        if spec.parts or spec.discrete:
            raise IncompatibleError(
                f"bottleneck reads one tensor of numbers, and states are {spec.in_words()}; codec: weights "
                "makes vectors of networks"
            )
        self.spec, size = spec, spec.numel()
        self.time = nn.Sequential(nn.Linear(1, time), nn.GELU(), nn.Linear(time, time))
        self.condition = ConditionEmbedding(spec.conditions, time)

        def block(inner: int, outer: int, drop: float) -> list[nn.Module]:
            return [nn.Linear(inner, outer), nn.LayerNorm(outer), nn.GELU(), nn.Dropout(drop)]

        self.net = nn.Sequential(
            *block(size + time, width, dropout),
            *block(width, width // 2, dropout),
            *block(width // 2, width, 0.0),
            nn.Linear(width, size),
        )
        last = self.net[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """A value of the shape of the state."""
        layout = Layout.of(self.spec, cond)
        x = x if layout is None else layout.zero(x)
        told = self.time(t[:, None].to(x.dtype)) + self.condition(cond, len(x))
        out: Tensor = self.net(torch.cat([x.flatten(1), told], 1)).reshape(x.shape)
        return out if layout is None else layout.zero(out)


class NoisyPath(AffinePath):
    r"""An affine path about which points scatter: :math:`x_t = \alpha_t x_1 + \sigma_t x_0 + s\epsilon`.

    The velocity is that of the line, as in conditional flow matching of Gaussian tubes (Tong et al.
    2302.00482).

    Args:
        schedule: alpha and sigma.
        geometry: Euclidean, or a product of Euclidean parts.
        scatter: s.
    """

    def __init__(
        self, schedule: Schedule | None = None, geometry: Geometry | None = None, scatter: float = 0.001
    ) -> None:
        super().__init__(schedule, geometry)
        if not 0 <= scatter < math.inf:
            raise ValueError(f"scatter is a standard deviation of at least 0, got {scatter}")
        self.scatter = scatter

    def sample(self, x0: State, x1: State, t: Time, *, generator: torch.Generator | None = None) -> Point:
        """A point about the line at time t."""
        point = super().sample(x0, x1, t)

        def scattered(x: Tensor) -> Tensor:
            return x + self.scatter * Draw.like(x, generator).normal(x.shape)

        return Point(map_state(scattered, point.x_t), t, point.velocity, x0, x1)
