"""Laws of measurement operators, in float64 on random images."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom_inverse.operators.base import Operator

N = 5


def _posed(make: Make, context: Context) -> tuple[Operator, Tensor, Cond, Tensor]:
    """The operator, data, what is drawn, and their measurement."""
    operator: Operator = make()
    spec = Spec((1, 8, 12))
    operator.require(spec)
    x = torch.randn(N, *spec.shape, generator=context.generator(1), dtype=torch.float64)
    drawn = operator.draw(Examples(x), spec, context.generator(2))
    return operator, x, drawn, operator(x, drawn)


@law("rows are measured by themselves, and what is drawn has as many rows")
def check_rows_are_independent(make: Make, context: Context) -> None:
    """A row alone measures as it does in a batch."""
    operator, x, drawn, y = _posed(make, context)
    context.holds("what is drawn has the rows", all(len(v) == N for v in drawn.values()))
    row = torch.tensor([3])
    alone = operator(x[row], {name: value[row] for name, value in drawn.items()})
    context.within("a row alone", alone - y[row], 1e-12)


@law("what was brought back measures the same, unless it was all but erased")
def check_back_measures_the_same(make: Make, context: Context) -> None:
    """``A A^+ A A^+ y = A A^+ y``, and ``A^+ y`` is the smallest of those that measure so."""
    operator, x, drawn, y = _posed(make, context)
    smallest = operator.back(y, drawn)
    seen = operator(smallest, drawn)
    again = operator(operator.back(seen, drawn), drawn)
    context.within("A A^+ on what was brought back", again - seen, 1e-9)
    larger = (smallest.flatten(1).norm(dim=1) - x.flatten(1).norm(dim=1)).clamp_min(0)
    context.within("norm beyond that of the data", larger, 1e-9)


@law("the adjoint is that of the measurement")
def check_adjoint(make: Make, context: Context) -> None:
    """``<A x, y> = <x, A^T y>``."""
    operator, x, drawn, y = _posed(make, context)
    if not operator.linear:
        raise NotApplicable("it is not linear")
    other = torch.randn(y.shape, generator=context.generator(3), dtype=y.dtype)
    one = (operator(x, drawn) * other).sum()
    two = (x * operator.adjoint(other, drawn)).sum()
    context.within("<A x, y> - <x, A^T y>", one - two, 1e-9)


@law("what settles is the best answer near a state")
def check_settle(make: Make, context: Context) -> None:
    """No small move lowers ``trust |u - x|^2 + |A u - y|^2``; with ``trust`` large the state stays."""
    operator, x, drawn, y = _posed(make, context)
    draws = context.generator(4)
    start, trust = torch.randn(x.shape, generator=draws, dtype=x.dtype), 0.3

    def cost(u: Tensor) -> Tensor:
        return trust * (u - start).square().sum() + (operator(u, drawn) - y).square().sum()

    settled = operator.settle(start, y, drawn, trust)
    best = cost(settled)
    for size in (1e-1, 1e-3):
        for _ in range(4):
            move = size * torch.randn(x.shape, generator=draws, dtype=x.dtype)
            # What a cut-off leaves out is not brought back, and costs at most its share.
            context.within("cost that a move saves", (best - cost(settled + move)).clamp_min(0), 1e-3 * size)
    still = operator.settle(start, y, drawn, 1e12)
    context.within("a state that is trusted stays", still - start, 1e-9)


@law("the projection of the truth is the truth")
def check_truth_stays(make: Make, context: Context) -> None:
    """Data that measure y are where they should be."""
    operator, x, drawn, y = _posed(make, context)
    context.within("settled truth - truth", operator.settle(x, y, drawn) - x, 1e-9)


@law("the measurement has a derivative")
def check_differentiable(make: Make, context: Context) -> None:
    """Against central differences, in float64."""
    operator, x, drawn, y = _posed(make, context)
    point = (0.3 * x).requires_grad_(True)
    other = torch.randn(y.shape, generator=context.generator(3), dtype=y.dtype)
    move = torch.randn(x.shape, generator=context.generator(5), dtype=x.dtype)
    (gradient,) = torch.autograd.grad((operator(point, drawn) * other).sum(), point)
    h = 1e-6
    with torch.no_grad():
        ahead, behind = (operator(point + s * move, drawn) for s in (h, -h))
    told = (gradient * move).sum()
    context.within("derivative along a direction", told - ((ahead - behind) * other).sum() / (2 * h), 1e-4)
