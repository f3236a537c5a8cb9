"""Equilibrium matching (2510.02300): one landscape for all noise levels, sampled by descent."""

from flowloom_foundations.equilibrium.blind import TimeBlind
from flowloom_foundations.equilibrium.composition import Composition
from flowloom_foundations.equilibrium.descent import GradientDescent, Nesterov
from flowloom_foundations.equilibrium.field import Descending, GradientField
from flowloom_foundations.equilibrium.landscape import Landscape, Slope
from flowloom_foundations.equilibrium.magnitudes import Linear, Magnitude, Piecewise, Truncated
from flowloom_foundations.equilibrium.objective import EquilibriumMatching
from flowloom_foundations.equilibrium.outliers import OutOfDistribution

__all__ = [
    "Composition",
    "Descending",
    "EquilibriumMatching",
    "GradientDescent",
    "GradientField",
    "Landscape",
    "Linear",
    "Magnitude",
    "Nesterov",
    "OutOfDistribution",
    "Piecewise",
    "Slope",
    "TimeBlind",
    "Truncated",
]
