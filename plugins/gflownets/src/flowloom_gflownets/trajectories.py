"""Walks from the root to a finished object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowloom_gflownets.environment import Environment, TokenEnvironment
from flowloom_gflownets.policy import PolicyField


@dataclass(frozen=True)
class Trajectories:
    """Transitions of a batch of walks, one after the other; nothing is padded.

    Args:
        walk: of which walk each is, ``(k,)``.
        number: of the step in its walk, from 0, ``(k,)``.
        x: state before, ``(k, *event)``.
        action: taken, ``(k,)``.
        after: state after, ``(k, *event)``; for tokens that before, where the walk stops.
        ends: finished objects, ``(walks, *event)``.
    """

    walk: Tensor
    number: Tensor
    x: Tensor
    action: Tensor
    after: Tensor
    ends: Tensor

    def of(self, rows: Tensor) -> Trajectories:
        """Some of the transitions, by a mask ``(k,)``."""
        return Trajectories(
            self.walk[rows], self.number[rows], self.x[rows], self.action[rows], self.after[rows], self.ends
        )


def walked(
    field: PolicyField, x: Tensor, *, epsilon: float = 0.0, generator: torch.Generator | None = None
) -> Trajectories:
    """Follow a policy until every walk has stopped, under gradient where kernels are differentiable.

    Args:
        field: the policy.
        x: states to start from.
        epsilon: share of exploration in every step (tokens: ``(1 - epsilon) P_F + epsilon U``).
        generator: of all actions.
    """
    environment: Environment = field.environment
    walks, taken, number = torch.arange(len(x), device=x.device), [], 0
    ends = x.clone()
    while len(walks):
        numbers = torch.full_like(walks, number)
        law = field(x, environment.time(numbers), {})
        assert isinstance(law, Tensor)
        action, after = environment.draw(law, x, number, epsilon, generator)
        taken.append((walks, numbers, x, action, after))
        stopped = action == environment.stop
        ends = ends.index_put((walks[stopped],), after[stopped])
        walks, x, number = walks[~stopped], after[~stopped], number + 1
    if not taken:
        return Trajectories(walks, walks, x, walks, x, ends)
    walk, numbers, before, actions, afters = (torch.cat(column) for column in zip(*taken, strict=True))
    return Trajectories(walk, numbers, before, actions, afters, ends)


roll_out = torch.no_grad()(walked)
"""`walked` without gradient, which is how balances are trained."""


@torch.no_grad()
def retraced(
    environment: TokenEnvironment, ends: Tensor, *, generator: torch.Generator | None = None
) -> Trajectories:
    """Walks to finished objects, taken backwards by uniform choices of a parent; a tree leaves no choice.

    Args:
        environment: in which they walked.
        ends: finished objects ``(n, *event)``.
        generator: of the choices.
    """
    walks, x = torch.arange(len(ends), device=ends.device), ends
    taken = [(walks, torch.zeros_like(walks), x, torch.full_like(walks, environment.stop), x)]
    length = torch.zeros_like(walks)
    while len(walks):
        parents = environment.parents(x)
        inner = parents.any(1)
        walks, x, parents = walks[inner], x[inner], parents[inner]
        if not len(walks):
            break
        action = torch.multinomial(parents.float(), 1, generator=generator)[:, 0]
        before = environment.back(x, action)
        length[walks] += 1
        taken.append((walks, length[walks], before, action, x))
        x = before
    walk, behind, xs, actions, afters = (torch.cat(column) for column in zip(*taken, strict=True))
    return Trajectories(walk, length[walk] - behind, xs, actions, afters, ends)


def joined(parts: Sequence[Trajectories]) -> Trajectories:
    """Several batches of walks as one, their walks counted on."""
    counts = [0]
    for part in parts:
        counts.append(counts[-1] + len(part.ends))
    walk = torch.cat([part.walk + count for part, count in zip(parts, counts, strict=False)])
    columns = ([getattr(part, name) for part in parts] for name in ("number", "x", "action", "after", "ends"))
    return Trajectories(walk, *(torch.cat(column) for column in columns))
