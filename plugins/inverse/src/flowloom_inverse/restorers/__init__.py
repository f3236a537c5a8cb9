"""Restorers: solvers that know what was measured, and rules without a flow."""

from flowloom_inverse.restorers.autoregressive import Autoregressive
from flowloom_inverse.restorers.base import Restorer, StepwiseRestorer
from flowloom_inverse.restorers.classical import PseudoInverse, Smoothest, Wiener
from flowloom_inverse.restorers.flair import FLAIR
from flowloom_inverse.restorers.flowdps import FlowDPS
from flowloom_inverse.restorers.gradients import DPS, FlowChef

__all__ = [
    "DPS",
    "FLAIR",
    "Autoregressive",
    "FlowChef",
    "FlowDPS",
    "PseudoInverse",
    "Restorer",
    "Smoothest",
    "StepwiseRestorer",
    "Wiener",
]
