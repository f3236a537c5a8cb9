"""The column that any flow has to beat."""

from __future__ import annotations

from flowloom.baselines import Baseline, draw_baseline, name_of
from flowloom.data import Examples
from flowloom.errors import IncompatibleError, MissingDependencyError
from flowloom.layout import Layout
from flowloom.seeds import generator
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.columns import Draws
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
        notes.once(f"no baseline: {error}")
        return None
    return name_of(assembly.spec), [assembly.in_range(one) for one in drawn]


def rules(
    assembly: Assembly, asked: Examples, notes: Notes, layout: Layout | None = None
) -> dict[str, Draws]:
    """The recipe's own baselines, fitted, each as draws under the conditions of some rows.

    Args:
        assembly: whose baselines.
        asked: the rows; only their conditions and what is given of them are looked at.
        notes: told of those that cannot answer such rows, which are left out.
        layout: what answers carry; that of ``asked`` where None.
    """
    found: dict[str, Draws] = {}
    rows = asked.with_layout(assembly.spec)
    for name, rule in assembly.baselines.items():
        with notes.about(f"baseline {name}"):
            if id(rule) not in assembly.fitted:
                rule.fit(assembly.require_data("baselines are fitted to training data"))
                assembly.fitted.add(id(rule))
            draw = _draws(assembly, name, rule, rows, layout)
            try:
                draw(0, 1)
            # A rule of one task need not know another's questions, nor a machine have its program.
            except (IncompatibleError, MissingDependencyError) as error:
                notes.once(f"no {name}: {error}")
                continue
            found[name] = draw
    return found


def _draws(assembly: Assembly, name: str, rule: Baseline, rows: Examples, layout: Layout | None) -> Draws:
    def draw(first: int, count: int) -> list[Examples]:
        seed = assembly.evaluate.seed
        answers = [rule(rows, generator(seed, f"baseline/{name}", i)) for i in range(first, first + count)]
        return [assembly.as_answered(one, layout or rows.layout) for one in answers]

    return draw
