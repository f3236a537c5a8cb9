"""Whole bijections: Glow, Flow++, Jet, STARFlow, TARFlow, and a Gaussian to compare with."""

from flowloom_likelihood.models.flow_plus_plus import FlowPlusPlus
from flowloom_likelihood.models.gaussian import LinearGaussian
from flowloom_likelihood.models.glow import Glow
from flowloom_likelihood.models.jet import Jet
from flowloom_likelihood.models.linear_flow import LinearFlow
from flowloom_likelihood.models.starflow import StarFlow, TarFlow

__all__ = ["FlowPlusPlus", "Glow", "Jet", "LinearFlow", "LinearGaussian", "StarFlow", "TarFlow"]
