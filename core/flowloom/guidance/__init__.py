"""Guidance: a field in, a field of the same kind out."""

from flowloom.guidance.base import Guidance, Unguided
from flowloom.guidance.branches import both_branches, comparable, lerp_logits, mixed
from flowloom.guidance.classifier import ClassifierGuidance
from flowloom.guidance.classifier_free import ClassifierFree

__all__ = [
    "ClassifierFree",
    "ClassifierGuidance",
    "Guidance",
    "Unguided",
    "both_branches",
    "comparable",
    "lerp_logits",
    "mixed",
]
