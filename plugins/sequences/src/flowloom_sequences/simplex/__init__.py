"""Flows on the probability simplex."""

from flowloom_sequences.simplex.classifier import train_classifier
from flowloom_sequences.simplex.codec import OneHot
from flowloom_sequences.simplex.geometry import FlatSimplex
from flowloom_sequences.simplex.guidance import SimplexClassifier, SimplexClassifierFree
from flowloom_sequences.simplex.path import DirichletPath
from flowloom_sequences.simplex.solver import SimplexEuler
from flowloom_sequences.simplex.source import DirichletSource
from flowloom_sequences.simplex.times import AtSource, ExponentialTimes

__all__ = [
    "AtSource",
    "DirichletPath",
    "DirichletSource",
    "ExponentialTimes",
    "FlatSimplex",
    "OneHot",
    "SimplexClassifier",
    "SimplexClassifierFree",
    "SimplexEuler",
    "train_classifier",
]
