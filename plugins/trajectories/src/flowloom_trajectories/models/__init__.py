"""Networks that read states over time."""

from flowloom_trajectories.models.facing import Facing
from flowloom_trajectories.models.transformer import TimeTransformer
from flowloom_trajectories.models.unet import TemporalUNet

__all__ = ["Facing", "TemporalUNet", "TimeTransformer"]
