"""Trajectories by way of their goals: GoalFlow (2503.05689)."""

from flowloom_trajectories.goals.drive import GoalPlan
from flowloom_trajectories.goals.failures import Failures
from flowloom_trajectories.goals.flow import GoalFlow
from flowloom_trajectories.goals.junction import Junction
from flowloom_trajectories.goals.model import GoalTransformer
from flowloom_trajectories.goals.scorer import GoalScorer, GoalScores
from flowloom_trajectories.goals.skip import LinearSkipMLP

__all__ = [
    "Failures",
    "GoalFlow",
    "GoalPlan",
    "GoalScorer",
    "GoalScores",
    "GoalTransformer",
    "Junction",
    "LinearSkipMLP",
]
