"""How straight a flow's trajectories are, and what they cost."""

from __future__ import annotations

import torch

from flowloom.fields import Field
from flowloom.layout import Layout
from flowloom.solvers import Euler
from flowloom.state import Cond, State, leaves, map_state, sum_event


@torch.no_grad()
def straightness(
    field: Field, x0: State, *, cond: Cond | None = None, steps: int = 100, layout: Layout | None = None
) -> float:
    r"""Mean excess of kinetic energy over the straight line between the ends of the model's trajectories.

    :math:`S = E \int_0^1 (\|v_t(x_t)\|^2 - \|x_1 - x_0\|^2)\, dt` (Pooladian et al. 2304.14772); 0 where
    every trajectory is straight and run at constant speed, never negative up to discretisation.

    Args:
        field: of kind velocity, on a Euclidean geometry.
        x0: source states ``(batch, *event)``.
        cond: their conditions.
        steps: Euler steps over which energy is summed.
        layout: only what is real and free moves, and counts.
    """
    solution = Euler(steps).solve(field, x0, cond=cond, keep=steps + 1, layout=layout)
    energy = torch.zeros(())
    for before, after in zip(solution.trajectory, solution.trajectory[1:], strict=False):
        # An Euler step is the velocity times its length.
        energy = energy + _squared(before, after, layout).mean() * steps
    return float(energy - _squared(x0, solution.x, layout).mean())


@torch.no_grad()
def transport_cost(
    field: Field, x0: State, *, cond: Cond | None = None, steps: int = 100, layout: Layout | None = None
) -> float:
    """Mean squared distance between the ends of the model's trajectories, by Euler steps."""
    x = Euler(steps).solve(field, x0, cond=cond, layout=layout).x
    return float(_squared(x0, x, layout).mean())


def _squared(x: State, y: State, layout: Layout | None) -> torch.Tensor:
    differences = map_state(lambda a, b: (b - a).square(), x, y)
    if layout is not None:
        differences = layout.still(differences)
    return torch.stack([sum_event(leaf) for _, leaf in leaves(differences)]).sum(0)
