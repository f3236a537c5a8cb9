"""Functions from any context to any targets: flow matching neural processes."""

from flowloom_trajectories.neural_process.functions import Functions, PixelFunctions
from flowloom_trajectories.neural_process.model import ProcessTransformer
from flowloom_trajectories.neural_process.objective import FactorisedGaussian, ProcessFlow
from flowloom_trajectories.neural_process.scores import DifferenceScore, ProcessGap

__all__ = [
    "DifferenceScore",
    "FactorisedGaussian",
    "Functions",
    "PixelFunctions",
    "ProcessFlow",
    "ProcessGap",
    "ProcessTransformer",
]
