"""Networks: the model contract, shared embeddings, and reference MLPs."""

from flowloom.models.base import Model, TellsFeatures, speak_for
from flowloom.models.classes import MLPClassifier, told_apart
from flowloom.models.critic import Critic
from flowloom.models.embeddings import ConditionEmbedding, TimeEmbedding
from flowloom.models.mlp import MLP
from flowloom.models.mlp_critic import MLPCritic

__all__ = [
    "MLP",
    "ConditionEmbedding",
    "Critic",
    "MLPClassifier",
    "MLPCritic",
    "Model",
    "TellsFeatures",
    "TimeEmbedding",
    "speak_for",
    "told_apart",
]
