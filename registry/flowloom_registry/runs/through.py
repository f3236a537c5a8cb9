"""The columns that no flow behind a lossy codec can be better than."""

from __future__ import annotations

from dataclasses import replace

import torch

from flowloom.data import Examples
from flowloom.data.looked_at import require_form
from flowloom.errors import DataError
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
    if not _loses(assembly):
        return {}
    some, states, own = _there_and_back(assembly, rows, few)
    found = {THROUGH: own}
    with notes.about("what other decoders make of real rows"):
        for name, other in assembly.compared(states).items():
            found[f"through {name}"] = Examples(other.x, some.cond)
    return {name: _repeated(one, len(rows), few) for name, one in found.items()}


def truth_through_the_codec(assembly: Assembly, truth: Examples, few: int | None) -> Examples | None:
    """What is right, encoded and decoded: no answer that the codec decodes can be better.

    Args:
        assembly: whose codec.
        truth: of questions.
        few: as above.

    Returns:
        None where nothing is lost by that, or what is right is not of the form of data.
    """
    if not _loses(assembly):
        return None
    try:
        require_form(assembly.spec, truth)
    except DataError:
        return None
    _, _, own = _there_and_back(assembly, truth, few)
    return replace(_repeated(own, len(truth), few), layout=truth.layout)


def _loses(assembly: Assembly) -> bool:
    codec = assembly.flow.codec
    return codec is not None and codec.lossy


def _there_and_back(
    assembly: Assembly, rows: Examples, few: int | None
) -> tuple[Examples, Examples, Examples]:
    """Some of the rows, their states, and what the codec makes of these."""
    some = rows if few is None else rows.take(torch.arange(min(few, len(rows))))
    states = assembly.encode(some, assembly.flow.device)
    return some, states, Examples(assembly.decode(states.x, states.cond), some.cond)


def _repeated(some: Examples, n: int, few: int | None) -> Examples:
    return some if few is None else some.take(torch.arange(n) % len(some))
