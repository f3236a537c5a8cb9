"""Solvers: they integrate a field of the kind they consume, on any geometry."""

from flowloom.solvers.adaptive import Adaptive, Dopri5
from flowloom.solvers.ancestral import Ancestral
from flowloom.solvers.base import FixedGrid, Solver
from flowloom.solvers.controller import PIController
from flowloom.solvers.ctmc import CTMCEuler, TauLeaping
from flowloom.solvers.ctmc_adaptive import AdaptiveCTMC
from flowloom.solvers.explicit import (
    RK4,
    BogackiShampine,
    DormandPrince,
    Euler,
    ExplicitRungeKutta,
    Heun,
    Midpoint,
)
from flowloom.solvers.flow_map import FlowMapSteps
from flowloom.solvers.mixed import Mixed
from flowloom.solvers.sde import EulerMaruyama
from flowloom.solvers.tableaus import Tableau
from flowloom.solvers.walk import Call, Hook, Solution, Walk, require_finite

__all__ = [
    "RK4",
    "Adaptive",
    "AdaptiveCTMC",
    "Ancestral",
    "BogackiShampine",
    "CTMCEuler",
    "Call",
    "Dopri5",
    "DormandPrince",
    "Euler",
    "EulerMaruyama",
    "ExplicitRungeKutta",
    "FixedGrid",
    "FlowMapSteps",
    "Heun",
    "Hook",
    "Midpoint",
    "Mixed",
    "PIController",
    "Solution",
    "Solver",
    "Tableau",
    "TauLeaping",
    "Walk",
    "require_finite",
]
