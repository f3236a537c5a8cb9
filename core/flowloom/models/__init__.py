"""Networks: the model contract, shared embeddings, and a reference MLP."""

from flowloom.models.base import Model, TellsFeatures, speak_for
from flowloom.models.classes import MLPClassifier, told_apart
from flowloom.models.critic import Critic
from flowloom.models.embeddings import ConditionEmbedding, TimeEmbedding
from flowloom.models.mlp import MLP

__all__ = [
    "MLP",
    "ConditionEmbedding",
    "Critic",
    "MLPClassifier",
    "Model",
    "TellsFeatures",
    "TimeEmbedding",
    "speak_for",
    "told_apart",
]
