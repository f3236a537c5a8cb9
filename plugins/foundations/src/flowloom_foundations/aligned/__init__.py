"""Latents that follow any law given by samples, by the loss of a frozen flow (2506.05240)."""

from flowloom_foundations.aligned.autoencoder import VectorAutoencoder
from flowloom_foundations.aligned.modes import ModesInSpace
from flowloom_foundations.aligned.objective import FlowPrior, misalignment
from flowloom_foundations.aligned.score import LatentLaw

__all__ = ["FlowPrior", "LatentLaw", "ModesInSpace", "VectorAutoencoder", "misalignment"]
