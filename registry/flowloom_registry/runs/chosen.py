"""Solvers in place of the recipe's: one that a person chose for a draw, those of a sweep."""

from __future__ import annotations

from collections.abc import Mapping

from flowloom.clashes import problems
from flowloom.errors import FlowloomError, IncompatibleError
from flowloom.solvers import FixedGrid, Solver
from flowloom_registry.config.example import build_component
from flowloom_registry.config.signature import read_signature
from flowloom_registry.nearest import listing
from flowloom_registry.plugins.catalog import Catalog
from flowloom_registry.runs.assembly import Assembly

__all__ = ["chosen_solver", "require_fit"]


def chosen_solver(assembly: Assembly, name: str | None = None, steps: int | None = None) -> Solver:
    """The solver of that name, or the recipe's own, with so many steps.

    Args:
        assembly: whose solver it is where no name is given.
        name: of a component; it is built as a recipe would, so never take it from a stranger.
        steps: of a solver with a fixed grid.

    Raises:
        FlowloomError: no steps, or those of a solver that chooses its own; one that needs more than steps.
        IncompatibleError: a solver that does not fit the other parts of the run.
    """
    if steps is not None and steps < 1:
        raise FlowloomError(f"--steps must be at least 1, got {steps}")
    if name is not None:
        settings = {} if steps is None else {"steps": steps}
        catalog = assembly.built.recipe.catalog
        place = f"--solver {name}"
        _require_name_enough(catalog, name, settings)
        solver = build_component("solver", name, settings, catalog=catalog, place=place)
        require_fit(solver, assembly, place)
        return solver
    own = assembly.flow.solver
    if steps is None:
        return own
    if not isinstance(own, FixedGrid):
        raise FlowloomError(f"--steps: {type(own).__name__} chooses its own steps; name a --solver too")
    return own.with_steps(steps)


def _require_name_enough(catalog: Catalog, name: str, settings: Mapping[str, object]) -> None:
    """Refuse a solver that is made of further parts, which stand in recipes alone."""
    try:
        target = catalog.load(catalog.find("solver", name))
    except FlowloomError:
        return  # building it says so
    signature = read_signature(target)
    wanted = [p.name for p in signature.parameters.values() if p.required and p.name not in settings]
    if wanted:
        whole = f"{{use: {name}, {', '.join(f'{one}: ...' for one in wanted)}}}"
        raise FlowloomError(
            f"--solver {name}: besides its name it needs {listing(wanted)}, which only a recipe can say: "
            f"solver: {whole}"
        )


def require_fit(solver: Solver, assembly: Assembly, place: str) -> None:
    """Refuse a solver as a recipe that names it would be refused.

    Args:
        solver: in place of the recipe's.
        assembly: of the run.
        place: where it was named, for the message.

    Raises:
        IncompatibleError: it cannot integrate what the objective trains, or steps where the path is cut, say.
    """
    for clash in problems({**assembly.built.parts, "spec": assembly.flow.spec, "solver": solver}):
        if "solver" in (clash.first, clash.second):
            raise IncompatibleError(f"{place}: {clash.message}")
