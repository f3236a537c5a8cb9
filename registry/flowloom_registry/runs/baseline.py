"""The column that any flow has to beat."""

from __future__ import annotations

import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import gaussian_baseline
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.notes import Notes

NAME = "Gaussian"


def baseline(
    assembly: Assembly, seen: Examples, asked: Examples, draws: int, notes: Notes
) -> tuple[str, list[Examples]] | None:
    """Draws of a simple law fitted to training data, under the conditions of some rows.

    Args:
        assembly: whose ``evaluate`` section says which law.
        seen: training examples.
        asked: the rows; only their conditions and what is given of them are looked at.
        draws: of each row.
        notes: told why, where there is none.

    Returns:
        The name of its column, and every draw of all rows; None where the recipe wants none, or there is none
        for such data.
    """
    if assembly.evaluate.baseline == "none":
        return None
    try:
        return NAME, _gaussian(assembly, seen, asked, draws)
    except IncompatibleError as error:
        line = f"no baseline: {error}"
        if line not in notes.lines:
            notes.lines.append(line)
        return None


def _gaussian(assembly: Assembly, seen: Examples, asked: Examples, draws: int) -> list[Examples]:
    config, n = assembly.evaluate, len(asked)
    cond = {name: value.repeat(draws, *(1,) * (value.ndim - 1)) for name, value in asked.cond.items()}
    within = assembly.class_condition()
    fitted = seen.laid_out(assembly.spec)
    many = assembly.in_range(gaussian_baseline(fitted, cond, draws * n, within=within, seed=config.seed))
    return [many.take(rows) for rows in torch.arange(draws * n).split(n)]
