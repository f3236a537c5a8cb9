"""The solver that a person chose for a draw, in place of the recipe's."""

from __future__ import annotations

from flowloom.errors import FlowloomError, IncompatibleError
from flowloom.solvers import FixedGrid, Solver
from flowloom_registry.config.example import build_component
from flowloom_registry.runs.assembly import Assembly

__all__ = ["chosen_solver"]


def chosen_solver(assembly: Assembly, name: str | None = None, steps: int | None = None) -> Solver:
    """The solver of that name, or the recipe's own, with so many steps.

    Args:
        assembly: whose solver it is where no name is given.
        name: of a component; it is built as a recipe would, so never take it from a stranger.
        steps: of a solver with a fixed grid.

    Raises:
        FlowloomError: no steps, or those of a solver that chooses its own.
        IncompatibleError: a solver that cannot integrate what the run's objective trains.
    """
    if steps is not None and steps < 1:
        raise FlowloomError(f"--steps must be at least 1, got {steps}")
    if name is not None:
        settings = {} if steps is None else {"steps": steps}
        catalog = assembly.built.recipe.catalog
        place = f"--solver {name}"
        solver = build_component("solver", name, settings, catalog=catalog, place=place)
        for clash in solver.clashes(assembly.built.parts):
            raise IncompatibleError(f"{place}: {clash.message}")
        return solver
    own = assembly.flow.solver
    if steps is None:
        return own
    if not isinstance(own, FixedGrid):
        raise FlowloomError(f"--steps: {type(own).__name__} chooses its own steps; name a --solver too")
    return own.with_steps(steps)
