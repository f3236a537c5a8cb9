"""What solvers have in common that draw a part of a state at a time, by a solve of its own."""

from __future__ import annotations

from collections.abc import Iterator

from flowloom.clashes import Clash
from flowloom.conditions import is_null
from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.fields.wrapped import rewrapped
from flowloom.guidance import Guidance
from flowloom.solvers.base import FixedGrid, Solver
from flowloom.state import Cond

__all__ = ["Branch", "branch_of", "inner_clashes", "require_velocity_steps"]

Branch = tuple[int, tuple[str, ...]]
"""A way in which guidance asks: how many rows at once, and which marks of withheld conditions."""


def require_velocity_steps(solver: Solver, drawn: str) -> FixedGrid:
    """An inner solver that draws a part of a state at a time: of velocities, in fixed steps.

    Args:
        solver: it.
        drawn: what it draws, for the message.

    Raises:
        IncompatibleError: it is another.
    """
    if not isinstance(solver, FixedGrid) or solver.wanted() != "velocity":
        raise IncompatibleError(
            f"{drawn} are drawn by solvers of velocities in fixed steps (euler, midpoint, heun), not by "
            f"{type(solver).__name__}"
        )
    return solver


def inner_clashes(
    inner: FixedGrid, velocity: Field, why: str, guidance: object, law: Field | None
) -> Iterator[Clash]:
    """Inner solvers and guidance that ask velocities for what they do not tell.

    Args:
        inner: draws the parts.
        velocity: of a part.
        why: it tells no more, for the message.
        guidance: of the recipe, around the law of whole states; something else where there is none.
        law: of whole states; None where it is not known.
    """
    try:
        inner.prepare(velocity)
    except IncompatibleError as error:
        yield Clash("solver", "objective", f"{why}: {error}")
    if isinstance(guidance, Guidance) and law is not None:
        try:
            rewrapped(guidance(law), velocity)
        except IncompatibleError as error:
            yield Clash("guidance", "solver", str(error))


def branch_of(rows: int, cond: Cond, batch: int) -> tuple[Branch, int]:
    """By what to remember what was read for a call within guidance, and how often it holds the batch.

    Args:
        rows: of the call.
        cond: its conditions.
        batch: rows of the state.
    """
    return (rows, tuple(sorted(filter(is_null, cond)))), rows // max(1, batch)
