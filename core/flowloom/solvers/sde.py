"""Stochastic sampling with the marginals of the flow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.solvers.base import FixedGrid
from flowloom.solvers.walk import Call
from flowloom.state import State, axpy, map_state


class EulerMaruyama(FixedGrid):
    r"""Euler-Maruyama on :math:`dx = (v + \tfrac12 g_t^2 \nabla\log p_t)\,dt + g_t\,dW`.

    Any :math:`g` leaves the marginals :math:`p_t` unchanged (Song et al. 2011.13456; 2412.06264, section
    4.10). Velocity and score come from one network evaluation. The last step is the deterministic one, as
    noise added at t=1 would only blur the sample.

    Args:
        steps: number of equal steps.
        grid: times to walk instead.
        diffusion: the scale of g; 0 is the ODE.
        form: ``sigma`` takes :math:`g_t = \text{diffusion}\,\sqrt{\sigma_t}`, which vanishes at the data;
            ``constant`` takes :math:`g_t = \text{diffusion}`.
    """

    order = 1
    stochastic = True

    def __init__(
        self,
        steps: int = 100,
        grid: Sequence[float] | None = None,
        diffusion: float = 1.0,
        form: Literal["sigma", "constant"] = "sigma",
    ) -> None:
        super().__init__(steps, grid)
        if not 0 <= diffusion < math.inf:
            raise ValueError(f"diffusion must be finite and not negative, got {diffusion}")
        self.diffusion, self.form = diffusion, form

    def prepare(self, field: Field) -> Field:
        """The velocity field; checks that a score can be had from it."""
        path = field.path
        if path is None or path.schedule is None or not path.converts("velocity", "score", field.source):
            raise IncompatibleError(
                "euler-maruyama needs the score, which an affine path from a Gaussian source gives; "
                "use an ODE solver (euler, midpoint, dopri5) on this path"
            )
        return super().prepare(field)

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One step with one network evaluation."""
        dt = t_next - t
        if dt < 0:
            raise IncompatibleError("euler-maruyama runs from source to data; its span must increase")
        velocity = call(x, t)
        if self.diffusion == 0 or last:
            return axpy(x, dt, velocity)
        field = call.field
        assert field.path is not None and field.path.schedule is not None
        schedule = field.path.schedule
        time = torch.tensor(t, dtype=torch.float64)
        g = self.diffusion * (math.sqrt(float(schedule.sigma(time))) if self.form == "sigma" else 1.0)
        score = field.path.convert(velocity, x, _like(time, x), "velocity", "score", field.source)
        drifted = axpy(axpy(x, dt, velocity), 0.5 * g * g * dt, score)
        return map_state(lambda y: y + (g * math.sqrt(dt)) * _noise(y, call.generator), drifted)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Paths and sources without a score, besides fields that are no velocity."""
        found = list(super().clashes(parts))
        yield from found
        objective, source = parts.get("objective"), parts.get("source")
        path = getattr(objective, "path", None)
        if found or path is None or source is None or path.converts("velocity", "score", source):
            return
        yield Clash(
            "solver",
            "source" if path.affine else "path",
            "euler-maruyama needs a score, so an affine path from a gaussian source; "
            "use euler, midpoint, heun, rk4 or dopri5",
        )


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _like(time: Tensor, x: State) -> State:
    return map_state(lambda leaf: time.to(leaf.device).expand(leaf.shape[0]), x)
