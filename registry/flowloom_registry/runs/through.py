"""The columns that no flow behind a lossy codec can be better than."""

from __future__ import annotations

import torch

from flowloom.data import Examples
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.evaluation import THROUGH
from flowloom_registry.runs.notes import Notes


def through_the_codec(
    assembly: Assembly, rows: Examples, few: int | None, notes: Notes
) -> dict[str, Examples]:
    """Rows of data encoded and decoded, by the name of their column; none where nothing is lost by that.

    Beside the codec's own decoder are those that it compares itself with, ``through NAME``.

    Args:
        assembly: whose codec.
        rows: of data.
        few: how many really go through and are then repeated, for a rehearsal; all where None.
        notes: told of other decoders that fail.
    """
    codec = assembly.flow.codec
    if codec is None or not codec.lossy:
        return {}
    some = rows if few is None else rows.take(torch.arange(min(few, len(rows))))
    states = assembly.encode(some, assembly.flow.device)
    found = {THROUGH: assembly.decode(states.x, states.cond)}
    with notes.about("what other decoders make of real rows"):
        for name, other in assembly.compared(Examples(states.x, states.cond)).items():
            found[f"through {name}"] = other.x
    columns = {name: Examples(x, some.cond) for name, x in found.items()}
    if few is None:
        return columns
    return {name: one.take(torch.arange(len(rows)) % len(some)) for name, one in columns.items()}
