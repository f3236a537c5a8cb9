"""Functions of time: draws of Gaussian processes, and noisy waves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.data import Drawn, Examples
from flowloom.errors import DataError
from flowloom.spec import Spec

__all__ = ["GaussianProcess", "Periodic", "covariance"]


def covariance(length: int, lengthscale: float, noise: float) -> Tensor:
    """Covariance of a process with a squared-exponential kernel at ``length`` even places in [0, 1]."""
    place = torch.linspace(0, 1, length, dtype=torch.float64)
    gaps = (place[:, None] - place) / lengthscale
    return (-0.5 * gaps.square()).exp() + (noise**2 + 1e-6) * torch.eye(length, dtype=torch.float64)


class GaussianProcess(Drawn):
    """Draws of a Gaussian process of variance 1 with a squared-exponential kernel, at even places.

    Args:
        n: examples in every split.
        seed: of the draws.
        length: places in [0, 1].
        lengthscale: of the kernel.
        noise: standard deviation of independent noise at every place.
    """

    def __init__(
        self,
        n: int = 10_000,
        seed: int = 0,
        length: int = 64,
        lengthscale: float = 0.15,
        noise: float = 0.02,
    ) -> None:
        if length < 2 or lengthscale <= 0 or noise < 0:
            raise DataError(
                f"length is at least 2, lengthscale positive and noise not negative; got {length}, "
                f"{lengthscale}, {noise}"
            )
        super().__init__(n, seed)
        self.length, self.lengthscale, self.noise = length, lengthscale, noise

    @property
    def spec(self) -> Spec:
        """One value a place: ``(length, 1)``."""
        return Spec((self.length, 1))

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Functions."""
        root = torch.linalg.cholesky(covariance(self.length, self.lengthscale, self.noise))
        draws = torch.randn(n, self.length, generator=generator, dtype=torch.float64)
        return Examples((draws @ root.T)[..., None].float())


class Periodic(Drawn):
    """Waves of random amplitude, phase and period, some turning into another, with noise.

    Args:
        n: examples in every split.
        seed: of the draws.
        length: steps.
        period: steps of the longest period; the shortest is half of it.
        noise: standard deviation of independent noise.
    """

    def __init__(
        self, n: int = 10_000, seed: int = 0, length: int = 48, period: float = 24.0, noise: float = 0.05
    ) -> None:
        if length < 2 or period <= 0 or noise < 0:
            raise DataError(
                f"length is at least 2, period positive and noise not negative; got {length}, {period}, "
                f"{noise}"
            )
        super().__init__(n, seed)
        self.length, self.period, self.noise = length, period, noise

    @property
    def spec(self) -> Spec:
        """One value a step: ``(length, 1)``."""
        return Spec((self.length, 1))

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Waves."""
        period = self.period * (0.5 + 0.5 * torch.rand(n, 1, generator=generator))
        phase = 2 * math.pi * torch.rand(n, 1, generator=generator)
        size = 0.5 + torch.rand(n, 1, generator=generator)
        angle = 2 * math.pi * torch.arange(self.length) / period + phase
        overtone = 0.3 * (2 * angle + phase).sin()
        wave = size * (angle.sin() + overtone)
        return Examples((wave + self.noise * torch.randn(wave.shape, generator=generator))[..., None])
