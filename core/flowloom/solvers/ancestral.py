"""Sampling as diffusion models do: predict the data, then step back to less noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.solvers.base import FixedGrid
from flowloom.solvers.walk import Call
from flowloom.sources import Source
from flowloom.state import State, map_state


class Ancestral(FixedGrid):
    r"""The ancestral sampler of DDPM (2006.11239, algorithm 2), and DDIM (2010.02502, equation 12).

    With D the predicted data, :math:`e = (x - \alpha D) / \sigma` the noise that goes with it, primes for the
    next time and s the deviation of the source,

    .. math::
        x' = \alpha' D + \sqrt{\sigma'^2 - c^2}\, e + c\, s\, z, \qquad
        c = \eta\, \sigma' \sqrt{1 - \Big(\frac{\alpha \sigma'}{\alpha' \sigma}\Big)^2}, \quad z \sim N(0, I)

    for any schedule. :math:`\eta = 1` draws from the posterior of the Markov chain (DDPM, with its smaller
    variance), :math:`\eta = 0` draws nothing (DDIM).

    Args:
        steps: number of equal steps.
        grid: times to walk instead.
        eta: share of the posterior's deviation that is drawn, in [0, 1].
        clip: predicted data are clipped to ``[-clip, clip]``, as is usual where the data lie in [-1, 1]; None
            leaves them.
    """

    consumes = "data"
    order = 1
    stochastic = True

    def __init__(
        self,
        steps: int = 100,
        grid: Sequence[float] | None = None,
        eta: float = 1.0,
        clip: float | None = None,
    ) -> None:
        super().__init__(steps, grid)
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {eta}")
        if clip is not None and not clip > 0:
            raise ValueError(f"clip must be positive, got {clip}")
        self.eta, self.clip = eta, clip

    def prepare(self, field: Field) -> Field:
        """The field as predicted data; checks that its path has a schedule and its source is Gaussian."""
        if field.path is None or field.path.schedule is None or not _gaussian(field.source):
            raise IncompatibleError(
                "ancestral steps need an affine path from a Gaussian source; "
                "use an ODE solver (euler, midpoint, dopri5) on this path"
            )
        return super().prepare(field)

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One step with one network evaluation."""
        if t_next < t:
            raise IncompatibleError("ancestral runs from source to data; its span must increase")
        path, source = call.field.path, call.field.source
        assert path is not None and path.schedule is not None and source is not None
        times = torch.tensor([t, t_next], dtype=torch.float64)
        alpha, to_alpha = path.schedule.alpha(times).tolist()
        sigma, to_sigma = path.schedule.sigma(times).tolist()
        fresh = self.eta * to_sigma * math.sqrt(max(0.0, 1 - (alpha * to_sigma / (to_alpha * sigma)) ** 2))
        kept, std = math.sqrt(max(0.0, to_sigma**2 - fresh**2)), 1.0 if source.std is None else source.std

        def stepped(x: Tensor, data: Tensor) -> Tensor:
            data = data if self.clip is None else data.clamp(-self.clip, self.clip)
            moved = to_alpha * data + (kept / sigma) * (x - alpha * data)
            if fresh == 0:
                return moved
            noise = torch.randn(x.shape, generator=call.generator, device=x.device, dtype=x.dtype)
            return moved + (fresh * std) * noise

        return map_state(stepped, x, call(x, t))

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Paths without a schedule and sources that are not Gaussian, besides fields that predict no data."""
        found = list(super().clashes(parts))
        yield from found
        path, source = getattr(parts.get("objective"), "path", None), parts.get("source")
        if found or path is None or (path.affine and _gaussian(source)):
            return
        yield Clash(
            "solver",
            "source" if path.affine else "path",
            "ancestral draws Gaussian noise along an affine path; use euler, midpoint, heun, rk4 or dopri5",
        )


def _gaussian(source: Source | None) -> bool:
    return source is not None and source.gaussian
