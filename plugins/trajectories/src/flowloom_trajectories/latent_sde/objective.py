"""The evidence lower bound of a latent diffusion: at random times, or along simulated ways."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flowloom.draw import Draw
from flowloom.errors import ShapeError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source
from flowloom_trajectories.latent_sde.model import LatentSDE

LATENT = "latent-sde"
"""Kind of a field that is a latent diffusion: it is rolled out, and not integrated."""


def gap(model: LatentSDE, seen: Tensor, times: Tensor, t: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    r"""Points of the posterior, and :math:`(f - h) / g` there, both ``(batch, latent)``.

    With :math:`z = F(\epsilon, t) = m + s\epsilon`, the posterior that shares g with the prior and has the
    marginals of F has the drift

    .. math:: f = \partial_t F + \tfrac12 g^2\,\nabla \log q + \tfrac12\,\partial_z g^2, \qquad
              \nabla \log q = -\epsilon / s.

    Args:
        model: the diffusion.
        seen: of its encoder.
        times: of the observations.
        t: times ``(batch,)``.
        eps: standard normal ``(batch, latent)``, or what stands for it at a given point.
    """

    def point(t: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = model.posterior(seen, times, t)
        return mean + std * eps, std

    (z, std), (flow, _), *_ = torch.func.jvp(point, (t,), (torch.ones_like(t),))
    # Each g depends on its own coordinate: one derivative along all of them has the diagonal.
    square, bend, *_ = torch.func.jvp(lambda z: model.diffusion(z).square(), (z,), (torch.ones_like(z),))
    drift = flow - 0.5 * square * eps / std + 0.5 * bend
    return z, (drift - model.drift(z, t)) / square.sqrt()


class SDEMatching(Objective):
    r"""The bound of a latent diffusion from two random times an example, without simulation (2502.02472).

    .. math:: KL(q(z_0|X)\,\|\,p(z_0)) + T\,E_{t \sim U[0, T]} \tfrac12 |(f - h)/g|^2
              - n\,E_i \log p(x_i | z_{t_i})

    in nats a series; see `gap`. The factor n, which the released notebook leaves out, is here. Nothing
    follows a path: the flow's path and source are not used, and samples are made by
    ``solver: latent-rollout``.

    Args:
        path: injected from the recipe, for its geometry.
    """

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.path = path or AffinePath()

    @property
    def kind(self) -> Kind:
        """``latent-sde``."""
        return LATENT

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """The bound, and its terms for the log."""
        x, times = batch.x1, batch.cond.get("times")
        if not isinstance(model, LatentSDE) or not isinstance(x, Tensor) or times is None:
            raise ShapeError("the bound is of model: latent-sde, on series with the condition 'times'")
        times, draw = times.to(x), Draw.like(x, step.generator)
        seen = model.read(x, times)
        start = self._start(model, seen, times)
        terms = {"start": start, **self._along(model, x, times, seen, draw)}
        total = torch.stack(list(terms.values())).sum(0).mean()
        return Loss(total, {name: term.detach().mean() for name, term in terms.items()})

    def _start(self, model: LatentSDE, seen: Tensor, times: Tensor) -> Tensor:
        mean, std = model.posterior(seen, times, torch.zeros_like(times[:, 0]))
        own, scale = model.start[0], model.start[1].exp()
        return (scale.log() - std.log() + (std**2 + (mean - own) ** 2) / (2 * scale**2) - 0.5).sum(1)

    def _along(
        self, model: LatentSDE, x: Tensor, times: Tensor, seen: Tensor, draw: Draw
    ) -> dict[str, Tensor]:
        """``drift`` and ``observations``, ``(batch,)`` each, unbiased."""
        n, length = times.shape
        eps = draw.normal((2, n, model.latent))
        _, off = gap(model, seen, times, model.until * draw.uniform((n,)), eps[0])
        rows, i = torch.arange(n, device=x.device), draw.integers(length, (n,))
        mean, std = model.posterior(seen, times, times[rows, i])
        likely = model.log_likelihood(x[rows, i], mean + std * eps[1])
        return {"drift": model.until * 0.5 * off.square().sum(1), "observations": -length * likely}

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The diffusion."""
        return NetworkField(model, self.kind, self.path, source)


class SimulatedSDE(SDEMatching):
    """The same bound along ways of the posterior, simulated by Euler-Maruyama with gradients through them.

    What latent diffusions were trained by before: as many network calls an update as there are steps. Times
    are those of the first row.

    Args:
        path: see `SDEMatching`.
        steps: even steps, to which the times of observations are added.
    """

    def __init__(self, path: Path | None = None, steps: int = 100) -> None:
        super().__init__(path)
        self.steps = steps

    def _along(
        self, model: LatentSDE, x: Tensor, times: Tensor, seen: Tensor, draw: Draw
    ) -> dict[str, Tensor]:
        even = torch.linspace(0, model.until, self.steps + 1, device=x.device, dtype=x.dtype)
        grid = torch.cat([even, times[0]]).unique().tolist()
        places: dict[float, Any] = {}
        for i, t in enumerate(times[0].tolist()):
            places.setdefault(t, []).append(i)
        first = torch.zeros_like(times[:, 0])
        mean, std = model.posterior(seen, times, first)
        z = mean + std * draw.normal(tuple(mean.shape))
        cost, likely = torch.zeros_like(first), torch.zeros_like(first)
        for k, t in enumerate(grid):
            for i in places.get(t, ()):
                likely = likely + model.log_likelihood(x[:, i], z)
            if k + 1 == len(grid):
                break
            now, dt = first + t, grid[k + 1] - t
            mean, std = model.posterior(seen, times, now)
            _, off = gap(model, seen, times, now, (z - mean) / std)
            g = model.diffusion(z)
            cost = cost + 0.5 * dt * off.square().sum(1)
            z = z + dt * (model.drift(z, now) + g * off) + g * dt**0.5 * draw.normal(tuple(z.shape))
        return {"drift": cost, "observations": -likely}
