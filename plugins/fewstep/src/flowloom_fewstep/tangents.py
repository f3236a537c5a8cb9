"""Tangent vectors with another size, or less gradient."""

from __future__ import annotations

from torch import Tensor

from flowloom.state import State, expand, map_state

__all__ = ["fixed", "passing", "scaled"]


def scaled(v: State, factor: Tensor) -> State:
    """Every row times its factor ``(batch,)``."""
    return map_state(lambda leaf: leaf * expand(factor, leaf), v)


def fixed(v: State) -> State:
    """The same values without gradient."""
    return map_state(Tensor.detach, v)


def passing(v: State, share: float) -> State:
    """The same values with a share of their gradient (Modular MeanFlow's SG_lambda, 2508.17426)."""
    if share == 0:
        return fixed(v)
    return map_state(lambda leaf: share * leaf + (1 - share) * leaf.detach(), v)
