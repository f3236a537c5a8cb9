"""Graph flow matching (2505.24434)."""

from flowloom_foundations.graph.neighbours import NeighbourAware
from flowloom_foundations.graph.shared_times import SharedTimes

__all__ = ["NeighbourAware", "SharedTimes"]
