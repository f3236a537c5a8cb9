"""Control: worlds, policies that learn in them, and plans that are carried out there."""

from flowloom_trajectories.control.agents import Planner, Policy, agent_of
from flowloom_trajectories.control.bandits import HiddenGoals, TwoGoals
from flowloom_trajectories.control.choices import Choices
from flowloom_trajectories.control.closed_loop import ClosedLoop
from flowloom_trajectories.control.demonstrations import Acts, Demonstrations
from flowloom_trajectories.control.env import Env, Episodes, carried_out
from flowloom_trajectories.control.gymnasium import Gymnasium
from flowloom_trajectories.control.maze import MazeEnv
from flowloom_trajectories.control.networks import FlowPolicy, GaussianPolicy, ValueMLP
from flowloom_trajectories.control.on_policy import OnPolicy
from flowloom_trajectories.control.policy_gradient import FPO, GaussianPPO
from flowloom_trajectories.control.regression import Regression

__all__ = [
    "FPO",
    "Acts",
    "Choices",
    "ClosedLoop",
    "Demonstrations",
    "Env",
    "Episodes",
    "FlowPolicy",
    "GaussianPPO",
    "GaussianPolicy",
    "Gymnasium",
    "HiddenGoals",
    "MazeEnv",
    "OnPolicy",
    "Planner",
    "Policy",
    "Regression",
    "TwoGoals",
    "ValueMLP",
    "agent_of",
    "carried_out",
]
