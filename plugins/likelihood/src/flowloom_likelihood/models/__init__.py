"""Whole bijections: Glow, Jet, and a Gaussian to compare with."""

from flowloom_likelihood.models.gaussian import LinearGaussian
from flowloom_likelihood.models.glow import Glow
from flowloom_likelihood.models.jet import Jet

__all__ = ["Glow", "Jet", "LinearGaussian"]
