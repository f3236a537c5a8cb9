"""Rules that any forecast has to beat."""

from flowloom_trajectories.baselines.constant_velocity import ConstantVelocity
from flowloom_trajectories.baselines.displacement import DisplacementInterpolation
from flowloom_trajectories.baselines.interpolation import LinearInterpolation
from flowloom_trajectories.baselines.seasonal import SeasonalNaive

__all__ = ["ConstantVelocity", "DisplacementInterpolation", "LinearInterpolation", "SeasonalNaive"]
