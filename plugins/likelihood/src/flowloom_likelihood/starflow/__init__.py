"""STARFlow: likelihood of noisy states, guidance of autoregressive flows, their inverse in parallel."""

from flowloom_likelihood.starflow.guidance import AutoregressiveGuidance
from flowloom_likelihood.starflow.inversion import Inversion
from flowloom_likelihood.starflow.jacobi import JacobiPush
from flowloom_likelihood.starflow.objective import NoisyLikelihood

__all__ = ["AutoregressiveGuidance", "Inversion", "JacobiPush", "NoisyLikelihood"]
