"""Rewards beside those of the same prompt."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.energies import Energy
from flowloom.errors import TrainingError
from flowloom.flow import Flow
from flowloom.state import Cond, State, batch_size

__all__ = ["groups_of", "rewards_of", "standardised"]


def groups_of(cond: Cond, n: int, device: torch.device | None = None) -> Tensor:
    """The group ``(n,)`` of every row: one for the same conditions, and one where there are none."""
    columns = [v.reshape(n, -1).double() for name, v in sorted(cond.items()) if v.numel()]
    if not columns:
        return torch.zeros(n, dtype=torch.long, device=device)
    found: Tensor = torch.unique(torch.cat(columns, 1), dim=0, return_inverse=True)[1]
    return found.reshape(n)


def standardised(rewards: Tensor, groups: Tensor, eps: float = 1e-8) -> Tensor:
    r""":math:`(r - \bar r) / (s + \epsilon)` within each group, ``(n,)``: 0 where a group has one row.

    Args:
        rewards: ``(n,)``.
        groups: ids ``(n,)`` from 0.
        eps: keeps groups whose rewards are all alike at 0.
    """
    precise = rewards.double()  # offsets of prompts may be far larger than what tells samples apart
    count = torch.bincount(groups).clamp_min(1).to(precise)
    zeros = torch.zeros_like(count)
    # From the least of each group: what is all alike is then 0 exactly, however far from 0 it was.
    precise = precise - zeros.scatter_reduce(0, groups, precise, "amin", include_self=False)[groups]
    mean = zeros.index_add(0, groups, precise) / count
    away = precise - mean[groups]
    std = (zeros.index_add(0, groups, away.square()) / count).sqrt()
    return (away / (std[groups] + eps)).to(rewards)


@torch.no_grad()
def rewards_of(energy: Energy, x: State, cond: Cond, flow: Flow | None = None) -> Tensor:
    """Rewards ``(n,)``, minus the energies of states, which ``flow`` decodes first where it has a codec.

    Raises:
        TrainingError: a reward is not finite.
    """
    if flow is not None and flow.codec is not None:
        data = flow.decode(Examples(x, dict(cond)))
        x, cond = data.x, data.cond
    found = -energy(x, cond)
    bad = int((~found.isfinite()).sum())
    if bad:
        name = type(energy).__name__
        raise TrainingError(f"the rewards of {bad} of {batch_size(x)} samples are not finite, says {name}")
    return found
