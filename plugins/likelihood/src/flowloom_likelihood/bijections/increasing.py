"""Inverting increasing functions entry by entry."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

HALVINGS = 60


def solve_increasing(
    function: Callable[[Tensor], Tensor],
    slope: Callable[[Tensor], Tensor],
    target: Tensor,
    low: Tensor,
    high: Tensor,
) -> Tensor:
    """x with ``function(x) = target``, entry by entry, by bisection between two brackets.

    Halving goes on until single and double precision have nothing left to halve; where a function is flat it
    stays between its brackets, which Newton's steps leave. Derivatives are those of the implicit function
    theorem, by ``target`` and by whatever ``function`` depends on; there are none in forward mode.

    Args:
        function: increasing in every entry.
        slope: its derivative, entry by entry.
        target: its value.
        low: where it is at most the target.
        high: where it is at least the target.
    """
    with torch.no_grad():
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            below = function(middle) < target
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        x = 0.5 * (low + high)
    if not torch.is_grad_enabled():
        return x
    # Zero in value up to rounding; only its derivative is kept.
    change = (target - function(x)) / slope(x).detach()
    return x + (change - change.detach())
