"""What environments of continuous states share."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.energies import Energy
from flowloom.state import Cond
from flowloom_gflownets.environment import Environment


class ContinuousEnvironment(Environment):
    """States are real-valued; a move has a density, and action 1 ends the walk where it arrives.

    Args:
        reward: minus log R of the objects.
    """

    def __init__(self, reward: Energy) -> None:
        self.reward = reward

    @property
    def stop(self) -> int:
        """Action 1; 0 goes on."""
        return 1

    def root(self, n: int, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Tensor:
        """The origin."""
        return torch.zeros(n, *self.spec.shape, device=device, dtype=dtype)

    def energy(self, x: Tensor, cond: Cond) -> Tensor:
        """That of the reward."""
        return self.reward(x, cond)

    def law(self, said: Tensor, x: Tensor) -> Tensor:
        """The parameters of the densities, as they were said."""
        return said

    @property
    def log_partition(self) -> float | None:
        """What the energy says of itself."""
        return self.reward.log_partition


class TimedEnvironment(ContinuousEnvironment):
    """Walks of a fixed number of steps; the number of the step belongs to the state, so that none recurs.

    Args:
        reward: minus log R.
        steps: moves of a walk, the last of which ends it.
    """

    timed = True

    def __init__(self, reward: Energy, steps: int) -> None:
        super().__init__(reward)
        if steps < 1:
            raise ValueError(f"a walk has at least one step, got {steps}")
        self.steps = steps

    def time(self, number: Tensor) -> Tensor:
        """The share of the walk that is done, in [0, 1]."""
        return number / self.steps

    def actions(self, x: Tensor, number: int) -> Tensor:
        """Stop where the walk is long enough."""
        return torch.full((len(x),), int(number == self.steps - 1), device=x.device)
