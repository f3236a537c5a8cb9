"""The contract of autoencoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.draw import Draw
from flowloom.spec import Spec


@dataclass(frozen=True)
class Posterior:
    """A Gaussian of independent entries, the law of the latent of every row.

    Args:
        mean: ``(batch, *latent)``.
        log_var: of the same shape.
    """

    mean: Tensor
    log_var: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A draw of every row."""
        noise = Draw.like(self.mean, generator).normal(tuple(self.mean.shape))
        return self.mean + (self.log_var / 2).exp() * noise

    def kl(self) -> Tensor:
        """Divergence from the standard Gaussian in nats, ``(batch,)``."""
        each = self.mean.square() + self.log_var.exp() - 1 - self.log_var
        return 0.5 * each.flatten(1).sum(1)


class Autoencoder(nn.Module, ABC):
    """A network that describes states by fewer numbers: ``posterior`` encodes, ``decode`` reconstructs.

    As a model it answers with the reconstruction of a state by the mean of its posterior, whatever the time.

    Attributes:
        spec: of the states.
        latent: shape of the latent of one example.
    """

    spec: Spec
    latent: tuple[int, ...]

    @abstractmethod
    def posterior(self, x: Tensor) -> Posterior:
        """The law of the latents of states ``(batch, *event)``."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """States of latents ``(batch, *latent)``."""

    def forward(self, x: Tensor, t: Tensor, /, **cond: Any) -> Tensor:
        """The reconstruction of states ``(batch, *event)``."""
        return self.decode(self.posterior(x).mean)
