"""Graph flow matching (2505.24434)."""

from flowloom_foundations.graph.neighbours import NeighbourAware

__all__ = ["NeighbourAware"]
