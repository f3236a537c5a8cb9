"""Bijections: the contract, and the layers of Glow."""

from flowloom_likelihood.bijections.actnorm import ActNorm
from flowloom_likelihood.bijections.base import Bijection, Chain, Image
from flowloom_likelihood.bijections.coupling import Coupling, CouplingNet, ZeroConv
from flowloom_likelihood.bijections.mixing import InvertibleConv, Reorder
from flowloom_likelihood.bijections.prior import Prior
from flowloom_likelihood.bijections.scales import FactorOut, Squeeze

__all__ = [
    "ActNorm",
    "Bijection",
    "Chain",
    "Coupling",
    "CouplingNet",
    "FactorOut",
    "Image",
    "InvertibleConv",
    "Prior",
    "Reorder",
    "Squeeze",
    "ZeroConv",
]
