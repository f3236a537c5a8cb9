"""Metrics: numbers that compare samples with real data."""

from flowloom.metrics.base import Metric
from flowloom.metrics.baseline import gaussian_baseline
from flowloom.metrics.distances import EnergyDistance, SlicedWasserstein, energy_distance, sliced_wasserstein
from flowloom.metrics.straightness import straightness, transport_cost
from flowloom.metrics.truth import Truth

__all__ = [
    "EnergyDistance",
    "Metric",
    "SlicedWasserstein",
    "Truth",
    "energy_distance",
    "gaussian_baseline",
    "sliced_wasserstein",
    "straightness",
    "transport_cost",
]
