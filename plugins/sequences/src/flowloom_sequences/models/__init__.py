"""Backbones for sequences; each reads token ids and simplex points."""

from flowloom_sequences.models.causal import CausalTransformer
from flowloom_sequences.models.cnn import DilatedCNN, SequenceClassifier
from flowloom_sequences.models.huggingface import HuggingFaceEncoder
from flowloom_sequences.models.transformer import SequenceTransformer

__all__ = [
    "CausalTransformer",
    "DilatedCNN",
    "HuggingFaceEncoder",
    "SequenceClassifier",
    "SequenceTransformer",
]
