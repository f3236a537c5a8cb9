"""The training examples nearest to samples: whether a flow copies."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import FlowloomError
from flowloom.state import State, leaves, map_state
from flowloom_registry.runs.assembly import Assembly, rows_of

__all__ = ["Nearest", "nearest_rows"]

_LARGEST = 2**26
"""Numbers of training data that are held at once."""


class Nearest(NamedTuple):
    """Training examples, the nearest of each sample in order, and among how many they were found."""

    rows: Examples
    searched: int


def nearest_rows(assembly: Assembly, states: State, few: Tensor) -> Nearest | None:
    """The training example nearest to each of a ``few`` samples, by the geometry's distance of states.

    None where examples differ in size, or the geometry tells no distance.

    Args:
        assembly: with its data.
        states: of the samples, as the solver gave them.
        few: which of them.
    """
    if assembly.data is None or assembly.spec.named("real"):
        return None
    size = sum(v[0].numel() for _, v in leaves(assembly.data.take(torch.arange(1)).x))
    rows = rows_of(assembly.data, max(1, min(assembly.evaluate.reference, _LARGEST // size)), 0)
    known = assembly.encode(assembly.in_range(rows), assembly.flow.device).x
    chosen = []
    try:
        for i in few.tolist():
            repeated = map_state(lambda v, i=i: v[i : i + 1].expand(len(rows), *v.shape[1:]), states)
            chosen.append(
                int(assembly.flow.geometry.distance(repeated, known).nan_to_num(torch.inf).argmin())
            )
    except (FlowloomError, NotImplementedError):
        return None
    return Nearest(rows.take(torch.tensor(chosen)), len(rows))
