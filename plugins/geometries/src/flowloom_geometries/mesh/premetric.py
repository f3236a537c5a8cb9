"""The conditional path of Riemannian flow matching where no closed-form geodesic exists."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.geometry import Geometry
from flowloom.paths import Path, Point
from flowloom.schedules import CondOT
from flowloom.state import expand


class PremetricPath(Path):
    r"""Flow down a premetric so that :math:`d(x_t, x_1) = (1 - t)\, d(x_0, x_1)` (2302.03660, section 3.2).

    The conditional field of least norm is

    .. math:: u_t(x | x_1) = -\frac{d(x, x_1)}{1 - t} \frac{\nabla_x d(x, x_1)}{|\nabla_x d(x, x_1)|^2},

    simulated from x0 by steps that share out ``[0, t]`` and are projected back each; targets are taken at
    the simulated point. No gradients flow through the simulation.

    The remaining distance is known in advance, so each step asks for the drop in premetric still owed,
    which keeps errors of earlier steps from adding up. The points of a power, ``(batch, k, 3)``, each run
    down a premetric of their own.

    Args:
        geometry: a space with ``embed`` and ``premetric_gradient``, such as `MeshSurface`; injected from
            the recipe where none is given.
        steps: Euler steps to reach t.
        longest: largest length of a simulated step and of a velocity's step, in units of the space; a
            vanishing gradient (a saddle of the premetric) would otherwise throw points far away.
    """

    def __init__(self, geometry: Geometry, steps: int = 50, longest: float = 0.1) -> None:
        if not (hasattr(geometry, "premetric_gradient") and hasattr(geometry, "embed")):
            raise IncompatibleError(
                f"path premetric needs a geometry with a premetric (mesh), and {geometry} has none; "
                "use path: geodesic"
            )
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.geometry = geometry
        self.schedule = CondOT()
        self.steps, self.longest = steps, longest

    @torch.no_grad()
    def sample(self, x0: Any, x1: Any, t: Any, *, generator: torch.Generator | None = None) -> Point:
        """The point at time t and the conditional velocity there; nothing is drawn."""
        space: Any = self.geometry
        target = space.embed(x1)
        start = (space.embed(x0) - target).norm(dim=-1, keepdim=True)
        share = expand(t, x0)
        x = x0
        for k in range(1, self.steps + 1):
            d, gradient = space.premetric_gradient(x, target)
            owed = d - start * (1 - share * (k / self.steps))
            x = space.project(x + self._descend(owed, gradient, self.longest))
        # At t = 1 the ratio d / (1 - t) is 0/0; its limit along the path is the speed of d, which is `start`.
        _, gradient = space.premetric_gradient(x, target)
        return Point(x, t, self._descend(start, gradient, float("inf")), x0, x1)

    @staticmethod
    def _descend(drop: Tensor, gradient: Tensor, longest: float) -> Tensor:
        squared = gradient.square().sum(-1, keepdim=True)
        step = -drop * gradient / torch.where(squared > 0, squared, 1)
        size = step.norm(dim=-1, keepdim=True)
        return step * (longest / size.clamp_min(1e-30)).clamp_max(1)
