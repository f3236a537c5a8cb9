"""Peak signal-to-noise ratio of answers."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from flowloom.data.base import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics.paired import PairedMetric
from flowloom.metrics.pairs import Entries, Ruler

__all__ = ["PSNR"]

_CEILING = 120.0
"""Decibels that stand for no error at all."""


class PSNR(PairedMetric):
    r"""Peak signal-to-noise ratio of draws in decibels, :math:`10 \log_{10}(R^2 / \mathrm{MSE})` of each row.

    R is the range of the data, not of a sample; the mean squared error is over real and free entries (the
    hole of an image, not all of it). Rows without error count as 120 dB.

    * ``psnr``: mean over rows and draws;
    * ``psnr_best``: mean over rows of the best draw; for several draws.

    Args:
        draws: samples of each row.
        data_range: R; the width of the limits that the data declare (2 for images in [-1, 1]) where None.
    """

    better: ClassVar = {"psnr": "higher", "psnr_best": "higher"}

    def __init__(self, draws: int = 1, data_range: float | None = None) -> None:
        super().__init__(draws)
        if data_range is not None and not 0 < data_range < math.inf:
            raise ValueError(f"data_range is a finite width above 0, got {data_range}")
        self.data_range = data_range

    def fit(self, train: Dataset) -> None:
        """Take the range from the data's limits.

        Raises:
            IncompatibleError: they declare none, and no ``data_range`` was given.
        """
        if self.data_range is None:
            if train.spec.limits is None:
                raise IncompatibleError(
                    "psnr needs the range of the data, which declare no limits; say data_range"
                )
            low, high = train.spec.limits
            self.data_range = high - low

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare every draw with its truth."""
        if self.data_range is None:
            raise IncompatibleError("psnr needs the range of the data; say data_range, or call fit first")
        pairs = Entries.of(samples, real, Ruler(), "psnr")
        error = pairs.mean((pairs.drawn - pairs.truth).square())
        levels = (20 * torch.tensor(self.data_range).log10() - 10 * error.log10()).clamp_max(_CEILING)
        values = {"psnr": float(levels.mean())}
        if len(levels) > 1:
            values["psnr_best"] = float(levels.amax(0).mean())
        return values
