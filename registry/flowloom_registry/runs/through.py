"""The column that no flow behind a lossy codec can be better than."""

from __future__ import annotations

import torch

from flowloom.data import Examples
from flowloom_registry.runs.assembly import Assembly


def through_the_codec(assembly: Assembly, rows: Examples, few: int | None) -> Examples | None:
    """Rows of data encoded and decoded; None where nothing is lost by that.

    Args:
        assembly: whose codec.
        rows: of data.
        few: how many really go through and are then repeated, for a rehearsal; all where None.
    """
    flow = assembly.flow
    if flow.codec is None or not flow.codec.lossy:
        return None
    some = rows if few is None else rows.take(torch.arange(min(few, len(rows))))
    states = assembly.encode(some, flow.device)
    found = Examples(assembly.decode(states.x, states.cond), some.cond)
    return found if few is None else found.take(torch.arange(len(rows)) % len(some))
