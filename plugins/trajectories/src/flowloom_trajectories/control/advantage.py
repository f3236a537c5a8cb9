"""Generalised advantages."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["advantages"]


def advantages(
    rewards: Tensor, values: Tensor, over: Tensor, cut: Tensor, gamma: float, lam: float
) -> Tensor:
    r"""Generalised advantage estimates ``(n, T)`` (Schulman et al. 1506.02438).

    .. math:: A_k = \delta_k + \gamma\lambda\,(1 - \mathrm{over}_k)\,A_{k+1},\quad
              \delta_k = r_k + \gamma\,(1 - \mathrm{over}_k)\,V_{k+1} - V_k

    A step at which the time was up, but the episode not over, has no successor to judge it by: its advantage
    is 0, and nothing is carried over it (the mask of Brax).

    Args:
        rewards: ``(n, T)``.
        values: of all observations, ``(n, T + 1)``; that after the end of an episode is the next one's.
        over: the episode ended itself at the step, ``(n, T)``.
        cut: the time was up at the step, ``(n, T)``.
        gamma: discount of a step.
        lam: lambda.
    """
    goes_on, valid = (~over).to(rewards), (~cut).to(rewards)
    delta = (rewards + gamma * goes_on * values[:, 1:] - values[:, :-1]) * valid
    found, ahead = [], torch.zeros_like(rewards[:, 0])
    for k in reversed(range(rewards.shape[1])):
        ahead = delta[:, k] + gamma * lam * goes_on[:, k] * valid[:, k] * ahead
        found.append(ahead)
    return torch.stack(found[::-1], 1)
