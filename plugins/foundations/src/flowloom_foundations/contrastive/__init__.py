"""Contrastive flow matching (2506.05350)."""

from flowloom_foundations.contrastive.interference import InterferenceRemoval
from flowloom_foundations.contrastive.objective import ContrastiveFlowMatching

__all__ = ["ContrastiveFlowMatching", "InterferenceRemoval"]
