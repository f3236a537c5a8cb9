"""Alignment of features on the way from noise to data, and classes read out of flows (2511.22345)."""

from flowloom_likelihood.flowback.objective import AlignedLikelihood
from flowloom_likelihood.flowback.score import FlowClassifier

__all__ = ["AlignedLikelihood", "FlowClassifier"]
