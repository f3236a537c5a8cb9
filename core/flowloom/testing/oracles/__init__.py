"""Flows that are known in closed form, to measure everything else against."""

from flowloom.testing.oracles.affine import AffineMap, FakeConditional, LinearFlow
from flowloom.testing.oracles.contraction import SphereSpiral, TorusPull
from flowloom.testing.oracles.mixture import GaussianMixture, MixtureField
from flowloom.testing.oracles.posterior import JointPosterior, JointTable

__all__ = [
    "AffineMap",
    "FakeConditional",
    "GaussianMixture",
    "JointPosterior",
    "JointTable",
    "LinearFlow",
    "MixtureField",
    "SphereSpiral",
    "TorusPull",
]
