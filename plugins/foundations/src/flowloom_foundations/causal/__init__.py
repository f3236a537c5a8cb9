"""Flows as sequences: a causal transformer predicts the next state from all earlier ones (2410.05292)."""

from flowloom_foundations.causal.model import CausalTrajectory
from flowloom_foundations.causal.objective import HISTORY, NextState, NextStates
from flowloom_foundations.causal.rollout import Rollout

__all__ = ["HISTORY", "CausalTrajectory", "NextState", "NextStates", "Rollout"]
