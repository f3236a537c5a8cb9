"""The column that any flow has to beat."""

from __future__ import annotations

from flowloom.baselines import draw_baseline, name_of
from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.notes import Notes


def baseline(
    assembly: Assembly, seen: Examples, asked: Examples, draws: int, notes: Notes
) -> tuple[str, list[Examples]] | None:
    """Draws of a simple law fitted to training data, under the conditions of some rows.

    Args:
        assembly: whose ``evaluate`` section says whether there is one.
        seen: training examples.
        asked: the rows; only their conditions and what is given of them are looked at.
        draws: of each row.
        notes: told why, where there is none.

    Returns:
        The name of its column, and every draw of all rows; None where the recipe wants none, or there is none
        for such data.
    """
    config, flow = assembly.evaluate, assembly.flow
    if config.baseline == "none":
        return None
    geometry = flow.geometry if flow.codec is None else None  # which is that of states, not of data
    try:
        drawn = draw_baseline(assembly.spec, seen, asked, draws, geometry=geometry, seed=config.seed)
    except IncompatibleError as error:
        line = f"no baseline: {error}"
        if line not in notes.lines:
            notes.lines.append(line)
        return None
    return name_of(assembly.spec), [assembly.in_range(one) for one in drawn]
