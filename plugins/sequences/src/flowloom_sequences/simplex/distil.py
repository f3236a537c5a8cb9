"""One-step students of a simplex flow."""

from __future__ import annotations

import torch

from flowloom.data import Tensors
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.solvers import Solver
from flowloom.state import Cond, State, take


def distillation_pairs(
    flow: Flow, n: int, *, solver: Solver | None = None, seed: int = 0, batch: int = 1024, **cond: object
) -> Tensors:
    """Noise and what the teacher makes of it, as a data set for a one-step student (2402.05841, section 3.5).

    Train the student on it with ``source: paired``, ``times: at-source`` and the same posterior objective:
    it then classifies, in one call at t = 0, where each x0 ends. Nothing else is special about it, and
    ``solver: {use: simplex-euler, steps: 1}`` samples it.

    Args:
        flow: the teacher.
        n: number of pairs.
        solver: of the teacher, its own where left out.
        seed: of the noise.
        batch: rows at a time.
        cond: conditions of every pair, as for ``flow.sample``.

    Returns:
        States x1 ``(n, L, K)`` with the condition ``x0``, beside the teacher's conditions.
    """
    if flow.spec is None or flow.source is None:
        raise IncompatibleError("the teacher has no spec or source; fit or load it first")
    generator = torch.Generator().manual_seed(seed)
    conditions: dict[str, torch.Tensor] = flow.conditions(n, cond) if cond else {}
    x0 = flow.source.sample((n, *flow.spec.shape), cond=conditions, generator=generator)
    chosen, field, parts = solver or flow.solver, flow.field(), []
    training = flow.model.training
    flow.model.eval()
    with torch.no_grad():
        for rows in torch.arange(n).split(batch):
            part: Cond = {k: v[rows] for k, v in conditions.items()}
            parts.append(chosen.solve(field, take(x0, rows), cond=part, generator=generator).x)
    flow.model.train(training)
    return Tensors(_joined(parts), {**conditions, "x0": x0})


def _joined(parts: list[State]) -> torch.Tensor:
    return torch.cat([part for part in parts if isinstance(part, torch.Tensor)])
