"""Balances of parts of walks: sub-trajectory balance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from flowloom.draw import Draw
from flowloom.objectives import Step
from flowloom.paths import Path
from flowloom_gflownets.balance import Balance
from flowloom_gflownets.environment import Environment
from flowloom_gflownets.policy import read
from flowloom_gflownets.trajectories import Trajectories


@dataclass(frozen=True)
class _Potentials:
    """``log F(x_i)`` less the gains on the way to ``x_i``, so that a residual is a difference of two.

    Args:
        value: ``(walks, longest + 1)``.
        length: transitions of each walk, ``(walks,)``.
    """

    value: Tensor
    length: Tensor


class SubTrajectoryBalance(Balance):
    r"""Residuals of all parts of a walk (Madan et al., 2209.12782; of diffusions Zhang et al., 2310.02679).

    .. math:: A_{ij} = \log F(x_i) + \sum_{k=i}^{j-1} (\log p_F - \log p_B) - \log F(x_j), \qquad
              L = \sum_{i<j} \frac{\lambda^{j-i}}{\sum \lambda^{j-i}} (A_{ij} / d)^2

    with R(x) in place of F at the end. A large lambda leaves the whole walk alone, which is trajectory
    balance; d is the dimension of the state.

    Args:
        environment: injected from the recipe.
        path: injected from the recipe.
        backward: ``uniform`` or ``learned``.
        epsilon: exploration.
        lamda: lambda, above 0.
        segment: learn from a random part of so many transitions of each walk alone; whole walks where None.
    """

    def __init__(
        self,
        environment: Environment,
        path: Path,
        backward: Literal["uniform", "learned"] = "uniform",
        epsilon: float = 0.0,
        lamda: float = 2.0,
        segment: int | None = None,
    ) -> None:
        super().__init__(environment, path, backward, epsilon)
        if not 0 < lamda < math.inf or (segment is not None and segment < 1):
            raise ValueError(f"lamda is positive, and a segment at least 1, got {lamda} and {segment}")
        self.lamda, self.segment = lamda, segment

    def residuals(self, model: nn.Module, walks: Trajectories) -> Tensor:
        """``A_ij / d`` of the whole of every walk, ``(walks,)``: that of trajectory balance over d."""
        found = self._potentials(model, walks)
        last = found.value.gather(1, found.length[:, None])[:, 0]
        return (found.value[:, 0] - last) / walks.ends[0].numel()

    def penalty(self, model: nn.Module, walks: Trajectories, step: Step) -> Tensor:
        """The weighted mean over parts, averaged over walks."""
        if self.segment is not None:
            walks = self._part(walks, Draw(step.generator, walks.x.device))
        found = self._potentials(model, walks)
        gap = (found.value[:, :, None] - found.value[:, None, :]) / walks.ends[0].numel()
        weights = self.weights(found.length, gap.shape[1]).to(gap)
        return (weights * gap.square()).sum((1, 2)).mean()

    def weights(self, length: Tensor, states: int) -> Tensor:
        """``lambda^(j - i)`` for ``i < j`` within a walk, normalised: ``(walks, states, states)``."""
        place = torch.arange(states, device=length.device)
        apart = place[None] - place[:, None]
        real = (apart > 0) & (place <= length[:, None, None])
        logs = torch.where(real, apart * math.log(self.lamda), -math.inf).double()
        return logs.flatten(1).softmax(1).reshape(logs.shape)

    def log_z(self, model: nn.Module) -> Tensor:
        """The flow through the root."""
        return self.root_flow(model)

    def _part(self, walks: Trajectories, draw: Draw) -> Trajectories:
        """A random stretch of ``segment`` transitions of every walk; all of a shorter one."""
        assert self.segment is not None
        room = (walks.walk.bincount(minlength=len(walks.ends)) - self.segment).clamp_min(0)
        start = (draw.uniform((len(room),)) * (room + 1)).long()[walks.walk]
        return walks.of((walks.number >= start) & (walks.number < start + self.segment))

    def _potentials(self, model: nn.Module, walks: Trajectories) -> _Potentials:
        count = len(walks.ends)
        length = walks.walk.bincount(minlength=count)
        first = walks.number.new_full((count,), int(walks.number.max()) + 1)
        first = first.scatter_reduce(0, walks.walk, walks.number, "amin")
        place = walks.number - first[walks.walk]
        said = self.said(model, walks)
        after = self.said_after(model, walks) if self.learned else None
        gain = self.log_forward(said, walks) - self.log_backward(after, walks)
        flow = self.log_flow(said, walks.x, walks.number)
        table = gain.new_zeros(count, int(length.max()) + 1)
        so_far = table.index_put((walks.walk, place + 1), gain).cumsum(1)
        flows = table.index_put((walks.walk, place), flow)
        rows = torch.arange(count, device=gain.device)
        flows = flows.index_put((rows, length), self._last(model, walks, length))
        return _Potentials(flows - so_far, length)

    def _last(self, model: nn.Module, walks: Trajectories, length: Tensor) -> Tensor:
        """``log F`` of the state in which each walk, or part of one, ends: R where it is an object."""
        last = walks.number.new_zeros(len(length)).scatter_reduce(0, walks.walk, walks.number, "amax")
        ends = walks.of(walks.number == last[walks.walk])
        said = read(self.environment, model, ends.after, ends.number + 1)
        flow = self.log_flow(said, ends.after, ends.number + 1)
        value = torch.where(ends.action == self.environment.stop, self.log_reward(ends.after), flow)
        return torch.empty_like(value).index_put((ends.walk,), value)
