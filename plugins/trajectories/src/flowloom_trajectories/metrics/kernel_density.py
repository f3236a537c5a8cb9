"""How probable the truth is under the draws."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from flowloom.data import Examples
from flowloom.metrics import Metric
from flowloom_trajectories.metrics.ways import ways

__all__ = ["KernelDensity"]


class KernelDensity(Metric):
    r"""Negative log-likelihood of the truth under a kernel density of the draws, step by step.

    A Gaussian kernel with Scott's bandwidth :math:`K^{-1/(d+4)}` times the covariance of the K draws at that
    step (Ivanovic and Pavone 1810.05993; Thiede and Brahma 1905.04266). Log-densities below ``floor`` count
    as ``floor``; a covariance that has collapsed is widened to ``least`` metres.

    Args:
        draws: K; estimates with few draws are poor.
        floor: least log-density a step.
        least: standard deviation added to every covariance.
    """

    better: ClassVar = {"kde_nll": "lower"}
    paired: ClassVar[bool] = True

    def __init__(self, draws: int = 20, floor: float = -20.0, least: float = 0.01) -> None:
        if draws < 2 or not 0 < least < math.inf:
            raise ValueError(f"draws must be at least 2 and least positive, got {draws} and {least}")
        if not floor < math.inf:
            raise ValueError(f"floor must be finite or -inf, got {floor}")
        self.draws, self.floor, self.least = draws, floor, least

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Mean over the steps that count."""
        self.require_rows(samples, real)
        drawn, truth, counts = ways(samples, real, "kde-nll")
        k, _, _, d = drawn.shape
        centred = drawn - drawn.mean(0)
        covariance = torch.einsum("knti,kntj->ntij", centred, centred) / max(k - 1, 1)
        covariance = covariance * k ** (-2 / (d + 4)) + self.least**2 * torch.eye(d, dtype=torch.float64)
        root = torch.linalg.cholesky(covariance)
        # (n, t, d, K): every draw's offset at once.
        offsets = (truth - drawn).permute(1, 2, 3, 0)
        distance = torch.linalg.solve_triangular(root, offsets, upper=False).square().sum(2)
        log_root = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_density = (
            (-0.5 * distance).logsumexp(-1) - math.log(k) - log_root - 0.5 * d * math.log(2 * math.pi)
        )
        each = -log_density.clamp_min(self.floor)[counts]
        return {"kde_nll": float(each.mean())}
