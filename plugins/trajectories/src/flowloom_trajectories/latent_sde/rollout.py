"""Series of a trained latent diffusion."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, NetworkField
from flowloom.layout import Layout
from flowloom.solvers import Solution, Solver
from flowloom.solvers.walk import Hook
from flowloom.state import Cond, State
from flowloom_trajectories.latent_sde.model import LatentSDE
from flowloom_trajectories.latent_sde.objective import LATENT


class LatentRollout(Solver):
    """Draws a start and follows the prior diffusion by Euler-Maruyama; observations with their noise.

    What comes from the source is not used but for its shape; times are the condition ``times`` of the first
    row.

    Args:
        steps: even steps, to which the times of observations are added.
    """

    consumes: ClassVar[str] = LATENT
    stochastic: ClassVar[bool] = True

    def __init__(self, steps: int = 100) -> None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.steps = steps

    def with_steps(self, steps: int) -> LatentRollout:
        """The same with as many steps."""
        return LatentRollout(steps)

    @torch.no_grad()
    def solve(
        self,
        field: Field,
        x0: State,
        *,
        cond: Cond | None = None,
        span: tuple[float, float] | None = None,
        generator: torch.Generator | None = None,
        keep: int = 0,
        on_step: Hook | None = None,
        layout: Layout | None = None,
    ) -> Solution:
        """Series at the times that are asked for.

        Raises:
            IncompatibleError: the field is no latent diffusion, or times are missing.
        """
        model = field.model if isinstance(field, NetworkField) else None
        if not isinstance(model, LatentSDE) or not cond or "times" not in cond or not isinstance(x0, Tensor):
            raise IncompatibleError("latent-rollout follows model: latent-sde, told the condition 'times'")
        times, draw = cond["times"][0].to(x0), Draw.like(x0, generator)
        even = torch.linspace(0, model.until, self.steps + 1, device=x0.device, dtype=x0.dtype)
        grid = torch.cat([even, times]).unique()
        n = len(x0)
        z = model.start[0] + model.start[1].exp() * draw.normal((n, model.latent))
        states = [z]
        for t, dt in zip(grid[:-1], grid.diff(), strict=True):
            noise = draw.normal((n, model.latent))
            z = z + dt * model.drift(z, t.expand(n)) + model.diffusion(z) * dt.sqrt() * noise
            states.append(z)
        seen = [model.observe(states[int(i)]) for i in torch.searchsorted(grid, times)]
        x = torch.stack(seen, 1)
        x = x + model.log_noise.clamp_min(-5).exp() * draw.normal(tuple(x.shape))
        return Solution(x, len(grid) - 1, (0.0, 1.0) if keep else (), [x0, x] if keep else [], cond=cond)
