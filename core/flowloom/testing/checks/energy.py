"""Laws of energies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowloom.energies import Energy
from flowloom.spec import Spec
from flowloom.state import leaves, map_state, take
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom.testing.states import noise_like


def _states(energy: Energy, context: Context, n: int = 8, dtype: torch.dtype = torch.float64) -> Any:
    """Rows of noise, or of random tokens, in the shape that the energy asks for."""
    return _rows(energy.spec or Spec(shape=(2,)), context, n, dtype)


def _rows(spec: Spec, context: Context, n: int, dtype: torch.dtype) -> Any:
    if spec.parts:
        return {name: _rows(inner, context, n, dtype) for name, inner in spec.parts.items()}
    if spec.discrete:
        return torch.randint(spec.vocab or 2, (n, *spec.shape), generator=context.generator(1))
    return torch.randn((n, *spec.shape), generator=context.generator(1), dtype=dtype)


def _ask(energy: Energy, x: Any, context: Context) -> Tensor:
    if energy.spec is not None and energy.spec.conditions:
        raise NotApplicable(f"it needs the conditions {sorted(energy.spec.conditions)}")
    return energy(x, {})


@law("an energy is one finite number a row, in the precision of the states")
def check_one_number_a_row(make: Make, context: Context) -> None:
    """In float32 and float64."""
    energy = make()
    for dtype in (torch.float32, torch.float64):
        x = _states(energy, context, dtype=dtype)
        values = _ask(energy, x, context)
        context.holds("energies have the shape (batch,)", values.shape == (8,), f"{tuple(values.shape)}")
        context.holds("energies are finite", bool(values.isfinite().all()))
        if any(leaf.is_floating_point() for _, leaf in leaves(x)):
            context.holds("energies keep the precision", values.dtype == dtype, f"{values.dtype}")


@law("rows do not see each other")
def check_rows_are_independent(make: Make, context: Context) -> None:
    """The energies of a batch are those of its rows."""
    energy = make()
    x = _states(energy, context)
    together = _ask(energy, x, context)
    for i in (0, 3, 7):
        row = torch.tensor([i])
        off = together[row] - _ask(energy, take(x, row), context)
        context.within("a row alone", off.detach(), 1e-10 * (1 + together.detach().abs().max()))


@law("the gradient is that of the energy")
def check_gradient(make: Make, context: Context) -> None:
    """Against central differences along a random direction, in float64; tokens have none."""
    energy = make()
    x = _states(energy, context)
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise NotApplicable("states that are not one real tensor are not moved as one")
    direction, h = noise_like(x, context.generator(2)), 1e-5
    point = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(_ask(energy, point, context).sum(), point)
    with torch.no_grad():
        ahead, behind = (
            _ask(energy, map_state(lambda v, s=s: v + s * direction, x), context) for s in (h, -h)
        )
    measured = (ahead - behind) / (2 * h)
    told = (gradient * direction).flatten(1).sum(1)
    context.within("gradient along a direction", measured - told, 1e-5 * (1 + measured.abs()))
