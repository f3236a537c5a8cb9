"""Walks of a flow taken as a policy: what they are, how they are drawn, how likely a policy finds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from flowloom.draw import Draw
from flowloom.fields import Field
from flowloom.fields.base import time_tensor
from flowloom.layout import Layout
from flowloom.objectives import Batch
from flowloom.state import Cond, expand
from flowloom_alignment.sde import FlowSDE

__all__ = ["Rollouts", "Search", "log_density", "means_of", "roll_out"]

Search = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Noise ``(n, *event)`` for a step: from its mean, its standard deviations and the time at its end."""


@dataclass(frozen=True, kw_only=True)
class Rollouts(Batch):
    """Walks from x0 to x1, with what became of them.

    Args:
        states: ``(n, steps + 1, *event)``, both ends included.
        noise: that drove them, ``(n, steps, *event)``.
        advantage: ``(n,)``.
        reward: ``(n,)``.
        sde: that took the steps.
    """

    states: Tensor
    noise: Tensor
    advantage: Tensor
    reward: Tensor
    sde: FlowSDE


@torch.no_grad()
def roll_out(
    sde: FlowSDE,
    field: Field,
    x0: Tensor,
    cond: Cond,
    layout: Layout | None,
    draw: Draw,
    searched: tuple[int, Search] | None = None,
) -> tuple[Tensor, Tensor]:
    """States ``(n, steps + 1, *event)`` of walks, and the noise ``(n, steps, *event)`` that drove them.

    Args:
        sde: takes the steps.
        field: of velocities.
        x0: where walks start.
        cond: conditions of every row.
        layout: what is real and given.
        draw: of the noise.
        searched: a step, counted from 1, whose noise is searched for.
    """
    x = x0 if layout is None else layout.hold(layout.fill(x0))
    stds = sde.stds(field, x.dtype).to(x.device)
    states, noises = [x], []
    for k, (t, t_next) in enumerate(pairwise(sde.times(field.span))):
        velocity = field(x, time_tensor(t, x), cond)
        assert isinstance(velocity, Tensor)
        std = stds[k].expand(len(x))
        mean = sde.mean(field, velocity, x, time_tensor(t, x), time_tensor(t_next - t, x), std)
        if searched is not None and k + 1 == searched[0]:
            noise = searched[1](mean, std, time_tensor(t_next, x))
        else:
            noise = draw.normal(x.shape)
        x = mean + expand(std, x) * noise
        x = x if layout is None else layout.hold(layout.zero(x))
        states.append(x)
        noises.append(noise)
    return torch.stack(states, 1), torch.stack(noises, 1)


def means_of(
    sde: FlowSDE, field: Field, states: Tensor, cond: Cond, layout: Layout | None
) -> tuple[Tensor, Tensor, Layout | None]:
    """Means of all steps ``(n * steps, *event)`` in one call of the network, their deviations, their layout.

    Args:
        sde: that took the steps.
        field: of velocities, of the policy that is asked.
        states: of walks, ``(n, steps + 1, *event)``.
        cond: conditions of every walk.
        layout: of every walk.
    """
    n, steps = len(states), states.shape[1] - 1
    times = states.new_tensor(sde.times(field.span))
    rows = torch.arange(n, device=states.device).repeat_interleave(steps)
    x, t = states[:, :-1].flatten(0, 1), times[:-1].repeat(n)
    std = sde.stds(field, states.dtype).to(states.device).repeat(n)
    velocity = field(x, t, {name: value[rows] for name, value in cond.items()})
    assert isinstance(velocity, Tensor)
    many = None if layout is None else layout.take(rows)
    return sde.mean(field, velocity, x, t, times.diff().repeat(n), std), std, many


def log_density(away: Tensor, layout: Layout | None, *, per_entry: bool) -> Tensor:
    r"""Log of :math:`N(0, I)` at ``away`` ``(n, *event)``, without constants: sum or mean of free entries."""
    squares = away.square() if layout is None else layout.still(away).square()
    total = squares.flatten(1).sum(1)
    if per_entry:
        total = total / (
            away[0].numel() if layout is None else layout.sum(torch.ones_like(away)).clamp_min(1)
        )
    return -0.5 * total
