"""Whole bijections: Glow, Jet, STARFlow, TARFlow, and a Gaussian to compare with."""

from flowloom_likelihood.models.gaussian import LinearGaussian
from flowloom_likelihood.models.glow import Glow
from flowloom_likelihood.models.jet import Jet
from flowloom_likelihood.models.starflow import StarFlow, TarFlow

__all__ = ["Glow", "Jet", "LinearGaussian", "StarFlow", "TarFlow"]
