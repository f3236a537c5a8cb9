"""Metrics of conditional flows."""

from flowloom_foundations.metrics.bayes import BayesAccuracy
from flowloom_foundations.metrics.within import WithinClasses

__all__ = ["BayesAccuracy", "WithinClasses"]
