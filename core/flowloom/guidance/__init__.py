"""Guidance: a field in, a field of the same kind out."""

from flowloom.guidance.base import Guidance, Unguided
from flowloom.guidance.classifier import ClassifierGuidance
from flowloom.guidance.classifier_free import ClassifierFree

__all__ = ["ClassifierFree", "ClassifierGuidance", "Guidance", "Unguided"]
