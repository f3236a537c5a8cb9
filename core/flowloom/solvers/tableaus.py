"""Butcher tableaus: what tells one explicit Runge-Kutta method from another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

__all__ = ["BOGACKI_SHAMPINE", "DORMAND_PRINCE", "EULER", "HEUN", "MIDPOINT", "RK4", "Tableau"]


@dataclass(frozen=True)
class Tableau:
    """A Butcher tableau of an explicit method.

    Args:
        nodes: ``c``, share of the step at which each stage sits.
        stages: rows of ``a`` below the diagonal; the first stage has none.
        weights: ``b``.
        error: ``b`` minus the weights of an embedded method of lower order; empty where there is none.
        error_order: order of the local error that these give: one more than that of the embedded method.
    """

    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    error: tuple[float, ...] = ()
    error_order: int = 0

    @cached_property
    def own(self) -> int:
        """Stages that a step has to itself: without the last where the next step begins with it."""
        return len(self.weights) - self.last_is_first

    @cached_property
    def last_is_first(self) -> bool:
        """Whether the last stage of a step is the first of the next, which then costs nothing."""
        return self.nodes[-1] == 1 and (*self.stages[-1], 0.0) == self.weights


# Every error looks at the end of the step. What it does not look at may be missed: far above the spread of
# the data, noise levels are a cone in which any step is exact, and one across all of it would be accepted.
# In the first two that is the slope of the next step, so it costs nothing.
EULER = Tableau((0.0, 1.0), ((), (1.0,)), (1.0, 0.0), (-0.5, 0.5), 2)
MIDPOINT = Tableau((0.0, 0.5, 1.0), ((), (0.5,), (0.0, 1.0)), (0.0, 1.0, 0.0), (-0.75, 0.5, 0.25), 2)
HEUN = Tableau((0.0, 1.0), ((), (1.0,)), (0.5, 0.5), (-0.5, 0.5), 2)

RK4 = Tableau((0.0, 0.5, 0.5, 1.0), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))

# Bogacki and Shampine, Appl. Math. Lett. 2 (1989): 3(2).
BOGACKI_SHAMPINE = Tableau(
    (0.0, 1 / 2, 3 / 4, 1.0),
    ((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    (2 / 9, 1 / 3, 4 / 9, 0.0),
    (2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8),
    3,
)

# Dormand and Prince, J. Comp. Appl. Math. 6 (1980): 5(4).
DORMAND_PRINCE = Tableau(
    (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
    (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
    5,
)
