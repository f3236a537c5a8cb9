"""Continuous ranked probability score of real-valued entries."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data.base import Examples
from flowloom.metrics.paired import MeasuredMetric
from flowloom.metrics.pairs import Entries

__all__ = ["CRPS", "fair_crps"]


def fair_crps(drawn: Tensor, truth: Tensor) -> Tensor:
    r"""CRPS of ensembles: :math:`\frac1K\sum_k |x_k - y| - \frac{1}{2K(K-1)}\sum_{j,k} |x_j - x_k|`.

    The fair estimator (Ferro 2014; Zamo and Naveau 2018, eq. 4), unbiased for any K; it may be slightly
    negative. Of sorted draws the double sum is :math:`2\sum_k (2k - K - 1) x_{(k)}`. For K = 1 it is the
    absolute error.

    Args:
        drawn: ``(K, ...)``.
        truth: ``(...)``.
    """
    k = len(drawn)
    error = (drawn - truth).abs().mean(0)
    if k == 1:
        return error
    rank = torch.arange(1, k + 1, dtype=drawn.dtype, device=drawn.device)
    weights = (2 * rank - k - 1).reshape(k, *(1,) * truth.ndim)
    return error - (weights * drawn.sort(0).values).sum(0) / (k * (k - 1))


class CRPS(MeasuredMetric):
    r"""Continuous ranked probability score, mean over real and free entries (see `fair_crps`).

    Gneiting and Raftery (2007): a strictly proper score of the law of one number, in its units; that of a
    sure answer is its absolute error. Entries are judged one by one; what they have in common is seen by
    ``energy-score``.

    Args:
        draws: samples of each row.
        geometry: curved and periodic parts are not judged; in a recipe, the recipe's.
        codec: where there is one, data are flat; in a recipe, the recipe's.
    """

    better: ClassVar = {"crps": "lower"}

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare the draws of every entry with its truth."""
        pairs = Entries.of(samples, real, self.ruler, "crps")
        return {"crps": float(pairs.mean(fair_crps(pairs.drawn, pairs.truth)).mean())}
