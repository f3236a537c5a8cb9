"""Diffusions seen at some times: one with an exact likelihood, and one that is chaotic."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from flowloom.data import Drawn, Examples
from flowloom.spec import Condition, Spec


class _Observed(Drawn):
    """Series ``(length, channels)`` at ``times``, which are the same for all rows and told as ``times``."""

    channels = 1

    def __init__(self, n: int, seed: int, length: int, until: float) -> None:
        super().__init__(n, seed)
        if length < 2 or until <= 0:
            raise ValueError(f"length from 2 and until positive, got {length} and {until}")
        self.length, self.until = length, until

    @property
    def spec(self) -> Spec:
        """Series, and their times."""
        times = Condition(shape=(self.length,))
        return Spec(shape=(self.length, self.channels), conditions={"times": times})

    @property
    @abstractmethod
    def times(self) -> Tensor:
        """Times of all series, ``(length,)``."""

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Series ``(n, length, channels)``."""

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Series and their times."""
        return Examples(self.draw(n, generator), {"times": self.times.expand(n, -1).clone()})


class OrnsteinUhlenbeck(_Observed):
    r""":math:`dz = -\theta z\,dt + \sigma\,dW` from its stationary law, seen with noise at irregular times.

    Everything is jointly Gaussian, so the likelihood of a series is exact (what a Kalman filter computes).

    Args:
        n: examples in every split.
        seed: of the draws; times are the same for all.
        length: observations.
        until: last time.
        theta: :math:`\theta`.
        sigma: :math:`\sigma`.
        noise: standard deviation of the observations.
    """

    def __init__(
        self,
        n: int = 1000,
        seed: int = 0,
        length: int = 50,
        until: float = 4.0,
        theta: float = 1.0,
        sigma: float = 0.7,
        noise: float = 0.1,
    ) -> None:
        super().__init__(n, seed, length, until)
        self.theta, self.sigma, self.noise = theta, sigma, noise

    @property
    def times(self) -> Tensor:
        """Uniform draws, sorted."""
        draws = torch.Generator().manual_seed(0)
        return self.until * torch.rand(self.length, generator=draws).sort().values

    @property
    def covariance(self) -> Tensor:
        """Of the observations, float64 ``(length, length)``."""
        t = self.times.double()
        scale = self.sigma**2 / (2 * self.theta)
        kernel = scale * torch.exp(-self.theta * (t[:, None] - t).abs())
        return kernel + self.noise**2 * torch.eye(self.length, dtype=torch.float64)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Series."""
        root = torch.linalg.cholesky(self.covariance)
        normal = torch.randn(n, self.length, generator=generator, dtype=torch.float64)
        return (normal @ root.T)[..., None].float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of series, ``(n,)``."""
        zero = torch.zeros(self.length, dtype=torch.float64)
        law = torch.distributions.MultivariateNormal(zero, self.covariance, validate_args=False)
        found: Tensor = law.log_prob(x[..., 0].double())
        return found


class StochasticLorenz(_Observed):
    r"""The Lorenz system (10, 28, 8/3) with noise :math:`0.15\,z\,dW`, at even times, standardised.

    Args:
        n: examples in every split.
        seed: of the draws.
        length: observations in [0, until].
        until: last time.
        noise: standard deviation that observations add.
    """

    channels = 3

    def __init__(
        self, n: int = 1024, seed: int = 0, length: int = 41, until: float = 1.0, noise: float = 0.01
    ) -> None:
        super().__init__(n, seed, length, until)
        self.noise = noise

    @property
    def times(self) -> Tensor:
        """Even."""
        return torch.linspace(0, self.until, self.length)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Series, by Euler-Maruyama in steps of a thousandth."""
        z, inner = (
            torch.randn(n, 3, generator=generator),
            max(1, round(1000 * self.until / (self.length - 1))),
        )
        dt, kept = self.until / (self.length - 1) / inner, []
        # Three units of time lead onto the attractor.
        for k in range(round(3 / dt) + inner * (self.length - 1) + 1):
            if (past := k - round(3 / dt)) >= 0 and past % inner == 0:
                kept.append(z)
            x, y, w = z.unbind(1)
            drift = torch.stack([10 * (y - x), x * (28 - w) - y, x * y - 8 / 3 * w], 1)
            z = z + dt * drift + 0.15 * z * dt**0.5 * torch.randn(n, 3, generator=generator)
        series = torch.stack(kept, 1)
        # Mean and deviation of these series, rounded: the same for all splits.
        series = (series - torch.tensor([0.0, 0.0, 25.2])) / torch.tensor([8.2, 8.8, 6.7])
        return series + self.noise * torch.randn(series.shape, generator=generator)
