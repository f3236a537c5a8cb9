"""The learned way between two ends."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.errors import ShapeError
from flowloom.geometry import Euclidean
from flowloom.paths import Path, Point
from flowloom.state import State, Time, expand
from flowloom.trained import Trained

__all__ = ["MetricInterpolant", "bent"]


def bent(network: nn.Module, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    r"""Points and velocities of the interpolant of 2405.14780, eq. 5, both in the shape of x0.

    .. math:: x_t = (1 - t) x_0 + t x_1 + \gamma_t \varphi(x_0, x_1, t), \qquad \gamma_t = 2 t (1 - t)

    and its derivative by t, in which :math:`\varphi` has its own.

    Args:
        network: :math:`\varphi`, called as ``network(x0, t, towards=x1)``.
        x0: where it begins, at t = 0.
        x1: where it ends, at t = 1.
        t: times ``(batch,)`` within the interval.
    """

    def phi(t: Tensor) -> Tensor:
        out: Tensor = network(x0, t, towards=x1)
        return out

    offset, change, *_ = torch.func.jvp(phi, (t,), (torch.ones_like(t),))
    time = expand(t, x0)
    gamma, slope = 2 * time * (1 - time), 2 - 4 * time
    line = x1 - x0
    return x0 + time * line + gamma * offset, line + slope * offset + gamma * change


class MetricInterpolant(nn.Module, Path):
    """Ways that an earlier stage bent towards the data (2405.14780), straight ones where there is none.

    The stage is frozen: the flow that follows these ways does not move them.

    Args:
        geodesics: a run of ``objective: land-geodesics`` or ``rbf-geodesics``; None for straight lines.
        noise: standard deviation of points about the way.
    """

    def __init__(self, geodesics: Trained | None = None, noise: float = 0.0) -> None:
        super().__init__()
        if noise < 0:
            raise ValueError(f"noise is not negative, got {noise}")
        self.geodesics, self.noise = geodesics, noise
        self.geometry = Euclidean()
        self.arrives = noise == 0

    def sample(self, x0: State, x1: State, t: Time, *, generator: torch.Generator | None = None) -> Point:
        """The point at time t.

        Raises:
            ShapeError: states have parts, or there is a time for every point of a way that is bent.
        """
        if not isinstance(x0, Tensor) or not isinstance(x1, Tensor) or not isinstance(t, Tensor):
            raise ShapeError("a metric interpolant joins single tensors")
        if self.geodesics is None:
            x, velocity = x0 + expand(t, x0) * (x1 - x0), x1 - x0
        elif t.ndim > 1:
            raise ShapeError("a way that is bent as a whole has one time a row")
        else:
            own = self.geodesics.flow.dtype
            with torch.no_grad():
                way = bent(self.geodesics, x0.to(own), x1.to(own), t.to(own))
            x, velocity = (value.to(x1.dtype) for value in way)
        if self.noise:
            where = x.device if generator is None else generator.device
            normal = torch.randn(x.shape, generator=generator, device=where, dtype=x.dtype)
            x = x + self.noise * normal.to(x.device)
        return Point(x, t, velocity, x0, x1)
