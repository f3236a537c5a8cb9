"""The critic contract."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from flowloom.state import State, Time


class Critic(nn.Module, ABC):
    """A network that judges states: ``critic(x, t, **cond)`` is one number a row, large where it looks real.

    It is a part of the objective that trains it, in a turn of its own, and reads conditions as models do.
    """

    @abstractmethod
    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """Logits ``(batch,)`` of states ``(batch, *event)`` at times ``(batch,)``."""
