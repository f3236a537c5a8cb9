"""A small autoencoder with vectors as latents."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec


class VectorAutoencoder(nn.Module):
    """Two perceptrons: states to a vector, and back. As a model it answers with the reconstruction.

    Args:
        spec: of the states: one real tensor; injected from the recipe.
        latent: entries of the vector.
        width: of the hidden layers, two each way.

    Raises:
        IncompatibleError: states are tokens or have parts.
    """

    def __init__(self, spec: Spec, latent: int = 8, width: int = 128) -> None:
        super().__init__()
        require_sizes(latent=latent, width=width)
        if spec.parts or spec.vocab is not None:
            raise IncompatibleError("vector-autoencoder takes states of one real tensor")
        self.spec, self.latent, size = spec, latent, math.prod(spec.shape)
        self.encoder = _perceptron(size, width, latent)
        self.decoder = _perceptron(latent, width, size)

    def encode(self, x: Tensor) -> Tensor:
        """Vectors ``(batch, latent)``."""
        found: Tensor = self.encoder(x.flatten(1))
        return found

    def decode(self, y: Tensor) -> Tensor:
        """States ``(batch, *event)``."""
        found: Tensor = self.decoder(y)
        return found.reshape(len(y), *self.spec.shape)

    def forward(self, x: Tensor, t: Tensor, /, **cond: Any) -> Tensor:
        """Reconstructions, whatever the time."""
        return self.decode(self.encode(x))


def _perceptron(size_in: int, width: int, size_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(size_in, width),
        nn.SiLU(),
        nn.Linear(width, width),
        nn.SiLU(),
        nn.Linear(width, size_out),
    )
