"""Flows between snapshots of a population, along ways that keep to the data (2405.14780)."""

from flowloom_trajectories.metric_flow.between import BetweenSnapshots
from flowloom_trajectories.metric_flow.geodesics import GeodesicEnergy, LandGeodesics, RbfGeodesics
from flowloom_trajectories.metric_flow.path import MetricInterpolant, bent
from flowloom_trajectories.metric_flow.snapshots import Arch, BranchingSnapshots, Snapshots, SphereCap

__all__ = [
    "Arch",
    "BetweenSnapshots",
    "BranchingSnapshots",
    "GeodesicEnergy",
    "LandGeodesics",
    "MetricInterpolant",
    "RbfGeodesics",
    "Snapshots",
    "SphereCap",
    "bent",
]
