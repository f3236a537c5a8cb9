"""Metrics: numbers that compare samples with real data, or answers with the truth of the same row."""

from flowloom.metrics.accuracy import Accuracy
from flowloom.metrics.base import Metric
from flowloom.metrics.beside_real import BesideReal
from flowloom.metrics.best_of import BestOf
from flowloom.metrics.by_class import ByClass
from flowloom.metrics.calibration import Calibration, rank_shares
from flowloom.metrics.crps import CRPS, fair_crps
from flowloom.metrics.distances import EnergyDistance, SlicedWasserstein, energy_distance, sliced_wasserstein
from flowloom.metrics.energy_score import EnergyScore
from flowloom.metrics.mse import MSE
from flowloom.metrics.pairs import Entries, Ruler, drawn_rows
from flowloom.metrics.psnr import PSNR
from flowloom.metrics.straightness import straightness, transport_cost

__all__ = [
    "CRPS",
    "MSE",
    "PSNR",
    "Accuracy",
    "BesideReal",
    "BestOf",
    "ByClass",
    "Calibration",
    "EnergyDistance",
    "EnergyScore",
    "Entries",
    "Metric",
    "Ruler",
    "SlicedWasserstein",
    "drawn_rows",
    "energy_distance",
    "fair_crps",
    "rank_shares",
    "sliced_wasserstein",
    "straightness",
    "transport_cost",
]
