"""Conditional sliced-Wasserstein flows (2305.02164)."""

from flowloom_foundations.sliced.directions import directions
from flowloom_foundations.sliced.flow import SlicedFlow
from flowloom_foundations.sliced.objective import Fitted
from flowloom_foundations.sliced.quantiles import quantiles, transport

__all__ = ["Fitted", "SlicedFlow", "directions", "quantiles", "transport"]
