"""Whole bijections: Glow, and a Gaussian to compare with."""

from flowloom_likelihood.models.gaussian import LinearGaussian
from flowloom_likelihood.models.glow import Glow

__all__ = ["Glow", "LinearGaussian"]
