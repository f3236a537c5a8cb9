"""Latent stochastic differential equations, trained without simulating them (2502.02472)."""

from flowloom_trajectories.latent_sde.model import LatentSDE
from flowloom_trajectories.latent_sde.objective import SDEMatching, SimulatedSDE
from flowloom_trajectories.latent_sde.processes import OrnsteinUhlenbeck, StochasticLorenz
from flowloom_trajectories.latent_sde.rollout import LatentRollout
from flowloom_trajectories.latent_sde.score import NelboGap

__all__ = [
    "LatentRollout",
    "LatentSDE",
    "NelboGap",
    "OrnsteinUhlenbeck",
    "SDEMatching",
    "SimulatedSDE",
    "StochasticLorenz",
]
