"""Poisson flows with extra dimensions (PFGM++, 2302.04265), in the time of noise levels."""

from flowloom_foundations.poisson.kernel import PoissonKernel
from flowloom_foundations.poisson.levels import LogNormalLevels, NoiseLevels
from flowloom_foundations.poisson.preconditioning import EDMWeight, Preconditioned
from flowloom_foundations.poisson.solver import EDMHeun

__all__ = ["EDMHeun", "EDMWeight", "LogNormalLevels", "NoiseLevels", "PoissonKernel", "Preconditioned"]
