"""Judges of forecasts and plans, on the truth of the same rows."""

from flowloom_trajectories.metrics.collisions import Collisions
from flowloom_trajectories.metrics.displacement import Displacement
from flowloom_trajectories.metrics.kernel_density import KernelDensity
from flowloom_trajectories.metrics.walls import Walls

__all__ = ["Collisions", "Displacement", "KernelDensity", "Walls"]
