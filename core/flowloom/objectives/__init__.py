"""Objectives: what a network is trained to be, and the field it then is."""

from flowloom.objectives.base import (
    Asked,
    Batch,
    Loss,
    Objective,
    PointObjective,
    Step,
    Turn,
    dropout_clashes,
)
from flowloom.objectives.classification import Classification
from flowloom.objectives.discrete import PosteriorMatching
from flowloom.objectives.flow_matching import FlowMatching
from flowloom.objectives.product import ProductObjective

__all__ = [
    "Asked",
    "Batch",
    "Classification",
    "FlowMatching",
    "Loss",
    "Objective",
    "PointObjective",
    "PosteriorMatching",
    "ProductObjective",
    "Step",
    "Turn",
    "dropout_clashes",
]
