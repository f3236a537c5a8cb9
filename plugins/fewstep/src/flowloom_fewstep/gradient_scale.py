"""Gradients of constant size at one place of a graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["GradientScale"]


class GradientScale(nn.Module):
    r"""The identity, whose backward divides gradients by their running size (2511.22475, gradient
    normalisation).

    .. math:: g \leftarrow g / \sqrt{m}, \qquad m \leftarrow \beta m + (1 - \beta)\, n \|g\|^2

    with :math:`n` the number of entries: a gradient then is as large as that of a mean over entries, whatever
    the critic's scale, and its balance with other losses of means is a number without units. As in the
    authors' code, m starts at 0 and is not corrected for it.

    Args:
        memory: beta.
        eps: added to the root.
    """

    square: Tensor

    def __init__(self, memory: float = 0.9, eps: float = 1e-8) -> None:
        super().__init__()
        if not 0 <= memory < 1:
            raise ValueError(f"memory must lie in [0, 1), got {memory}")
        self.memory, self.eps = memory, eps
        self.register_buffer("square", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """A copy of ``x`` through which gradients come back scaled."""
        through = x.clone()
        if through.requires_grad:
            through.register_hook(self._scaled)
        return through

    @torch.no_grad()
    def _scaled(self, gradient: Tensor) -> Tensor:
        size = gradient.float().square().sum() * gradient.numel()
        self.square.lerp_(size, 1 - self.memory)
        return gradient / (self.square.sqrt() + self.eps).to(gradient.dtype)
