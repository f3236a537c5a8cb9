"""A latent diffusion with observations, and the posterior of its marginals."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowloom.data import Dataset
from flowloom.errors import DataError, IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec


class LatentSDE(nn.Module):
    r"""Prior :math:`dz = h(z, t)\,dt + g(z, t)\,dW`, observed through a network (2502.02472).

    Each entry of g is a function of its own coordinate,
    :math:`g_j = \mathrm{sigmoid}(\mathrm{MLP}_j(z_j))`. The posterior is given by its marginals,
    :math:`z_t = m(t, X) + s(t, X)\,\epsilon` with (m, log s) from an MLP of a context: a GRU reads the
    series both ways, and softmax weights of :math:`-(t - t_i)^2 / w^2` take from it what is near t.

    As a network of the flow it answers with the observations of the posterior means.

    Args:
        spec: of the data: series ``(length, channels)`` with the condition ``times``; injected from the
            recipe.
        latent: entries of z.
        width: of all hidden layers.
        until: T, the last time; no observation may come later.
        reach: w.
        noise: standard deviation of observations at the start; it is learned.

    Raises:
        IncompatibleError: the data are no series with times.
    """

    def __init__(
        self,
        spec: Spec,
        latent: int = 4,
        width: int = 100,
        until: float = 1.0,
        reach: float = 0.1,
        noise: float = 0.1,
    ) -> None:
        super().__init__()
        require_sizes(latent=latent, width=width)
        if len(spec.shape) != 2 or spec.vocab is not None or "times" not in spec.conditions:
            raise IncompatibleError("latent-sde reads series (length, channels) with the condition 'times'")
        self.spec, self.latent, self.until, self.reach = spec, latent, until, reach
        channels = spec.shape[1]
        self.start = nn.Parameter(torch.zeros(2, latent))
        self.drift_net = _perceptron(latent + 1, width, latent)
        self.g_in = nn.Parameter(torch.randn(2, latent, 16))
        self.g_out = nn.Parameter(0.1 * torch.randn(latent, 16))
        self.g_bias = nn.Parameter(torch.zeros(latent))
        self.observe = _perceptron(latent, width, channels)
        self.log_noise = nn.Parameter(torch.full((channels,), math.log(noise)))
        self.gru = nn.GRU(channels + 1, width, batch_first=True, bidirectional=True)
        self.marginal = _perceptron(2 * width + 1, width, 2 * latent)

    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Look whether all observations lie in [0, T]: beyond it nothing holds the posterior to the prior.

        Raises:
            DataError: one does not.
        """
        if data is None:
            return
        times = data.take(data.evenly(1000)).cond["times"]
        first, last = float(times.min()), float(times.max())
        if first < 0 or last > self.until * (1 + 1e-6):
            raise DataError(
                f"latent-sde follows times from 0 to {self.until:g}, and the data are seen from {first:g} to "
                f"{last:g}; set model.until"
            )

    def drift(self, z: Tensor, t: Tensor) -> Tensor:
        """h ``(batch, latent)`` at times ``(batch,)``."""
        found: Tensor = self.drift_net(torch.cat([z, t[:, None] / self.until], 1))
        return found

    def diffusion(self, z: Tensor) -> Tensor:
        """g ``(batch, latent)``."""
        hidden = torch.tanh(z[..., None] * self.g_in[0] + self.g_in[1])
        return 1e-3 + torch.sigmoid((hidden * self.g_out).sum(-1) + self.g_bias)

    def read(self, x: Tensor, times: Tensor) -> Tensor:
        """What the encoder makes of series, ``(batch, length, 2 width)``."""
        found: Tensor = self.gru(torch.cat([x, times[..., None] / self.until], 2))[0]
        return found

    def posterior(self, seen: Tensor, times: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """m and s ``(batch, latent)`` at times ``(batch,)``.

        Args:
            seen: of `read`.
            times: of the observations, ``(batch, length)``.
            t: times ``(batch,)``.
        """
        near = (-((t[:, None] - times) / self.reach).square()).softmax(1)
        context = (near[..., None] * seen).sum(1)
        told = torch.cat([context, t[:, None] / self.until], 1)
        mean, log_std = self.marginal(told).chunk(2, 1)
        return mean, log_std.clamp(-5, 2).exp()

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Log density ``(batch,)`` of observations ``(batch, channels)`` of latents."""
        std = self.log_noise.clamp_min(-5).exp()
        off = (x - self.observe(z)) / std
        return (-0.5 * off.square() - std.log() - 0.5 * math.log(2 * math.pi)).sum(1)

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Observations of the posterior means at all times of series ``(batch, length, channels)``."""
        if "times" not in cond:
            raise ShapeError("latent-sde is told the times of observations, as the condition 'times'")
        times, seen = cond["times"].to(x), self.read(x, cond["times"].to(x))
        means = [self.posterior(seen, times, times[:, i])[0] for i in range(times.shape[1])]
        return torch.stack([self.observe(mean) for mean in means], 1)


def _perceptron(size_in: int, width: int, size_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(size_in, width),
        nn.SiLU(),
        nn.Linear(width, width),
        nn.SiLU(),
        nn.Linear(width, size_out),
    )
