"""What is learned from few samples, exactly (2310.03575)."""

from flowloom_foundations.limited.denoiser import TwoClusterDenoiser
from flowloom_foundations.limited.score import CentreError
from flowloom_foundations.limited.theory import Overlaps, coefficients, generated
from flowloom_foundations.limited.two_clusters import TwoClusters

__all__ = ["CentreError", "Overlaps", "TwoClusterDenoiser", "TwoClusters", "coefficients", "generated"]
