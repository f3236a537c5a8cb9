"""Exponential moving average of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EMA:
    """Averaged weights of a module, updated in one fused call.

    The decay at step k is ``min(decay, (1 + k) / (10 + k))``, so that the first averages are not held back
    by the random start. Buffers are copied, not averaged.

    Args:
        module: whose weights are averaged.
        decay: of the average.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.live = [p for p in module.parameters() if p.is_floating_point()]
        self.names = [n for n, p in module.named_parameters() if p.is_floating_point()]
        self.average = [p.detach().clone() for p in self.live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the live weights after step ``step`` (counted from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.live], 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """Averaged weights by parameter name."""
        return dict(zip(self.names, self.average, strict=True))

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore averaged weights."""
        for name, target in zip(self.names, self.average, strict=True):
            target.copy_(state[name])

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Write the averaged weights into a module of the same structure."""
        targets = dict(module.named_parameters())
        for name, value in zip(self.names, self.average, strict=True):
            targets[name].copy_(value)
