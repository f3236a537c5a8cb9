"""Walks from the root to a finished object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowloom_gflownets.environment import Environment
from flowloom_gflownets.policy import PolicyField


@dataclass(frozen=True)
class Trajectories:
    """Transitions of a batch of walks, one after the other; nothing is padded.

    Args:
        walk: of which walk each is, ``(k,)``.
        x: state before, ``(k, *event)``.
        action: taken, ``(k,)``.
        after: state after, ``(k, *event)``; that before where the walk stops.
        ends: finished objects, ``(walks, *event)``.
    """

    walk: Tensor
    x: Tensor
    action: Tensor
    after: Tensor
    ends: Tensor


@torch.no_grad()
def roll_out(
    field: PolicyField, x: Tensor, *, epsilon: float = 0.0, generator: torch.Generator | None = None
) -> Trajectories:
    """Follow a policy until every walk has stopped; no gradient is kept.

    Args:
        field: the policy.
        x: states to start from.
        epsilon: share of uniform exploration mixed into every step: ``(1 - epsilon) P_F + epsilon U``.
        generator: of all actions.
    """
    environment: Environment = field.environment
    walks, taken = torch.arange(len(x), device=x.device), []
    ends = x.clone()
    while len(walks):
        allowed = environment.allowed(x)
        value = field(x, None, {})
        assert isinstance(value, Tensor)
        law = (1 - epsilon) * value.exp() + epsilon * allowed / allowed.sum(-1, keepdim=True)
        action = torch.multinomial(law, 1, generator=generator)[:, 0]
        after = environment.step(x, action)
        taken.append((walks, x, action, after))
        stopped = action == environment.stop
        ends[walks[stopped]] = after[stopped]
        walks, x = walks[~stopped], after[~stopped]
    if not taken:
        return Trajectories(walks, x, walks, x, ends)
    walk, before, actions, afters = (torch.cat(column) for column in zip(*taken, strict=True))
    return Trajectories(walk, before, actions, afters, ends)
