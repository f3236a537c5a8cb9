"""The nearest of several answers."""

from __future__ import annotations

from typing import ClassVar

from flowloom.data.base import Examples
from flowloom.metrics.paired import MeasuredMetric
from flowloom.metrics.pairs import judged_rows

__all__ = ["BestOf"]


class BestOf(MeasuredMetric):
    r"""Best of K: how far the nearest of K draws is from the truth, beside how far one is.

    * ``rmse``: mean over rows and draws of :math:`d(x, y)`, the root mean square distance over real and free
      entries (of the geometry; Hamming's for tokens);
    * ``best_rmse``: mean over rows of the smallest of K. It rewards spread as well as accuracy: compare
      flows at the same K, and beside ``energy-score``, which cannot be gamed so.

    Args:
        draws: K.
        geometry: whose distances are measured; in a recipe, the recipe's.
        codec: where there is one, data are measured flat; in a recipe, the recipe's.
    """

    better: ClassVar = {"rmse": "lower", "best_rmse": "lower"}

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare every draw with its truth."""
        off = self.ruler.distances(*judged_rows(samples, real))
        return {"rmse": float(off.mean()), "best_rmse": float(off.amin(0).mean())}
