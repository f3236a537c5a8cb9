"""Mean squared error of answers."""

from __future__ import annotations

from typing import ClassVar

from flowloom.codecs import Codec
from flowloom.data.base import Examples
from flowloom.errors import IncompatibleError
from flowloom.geometry import Geometry
from flowloom.metrics.paired import MeasuredMetric
from flowloom.metrics.pairs import Entries, judged_rows

__all__ = ["MSE"]


class MSE(MeasuredMetric):
    r"""Mean squared error of draws from the truth of their row, by entry.

    * ``mse``: mean over rows and draws of :math:`d(x, y)^2 / m` over the m real and free entries of a row,
      d the distance of the geometry (of points, where it is curved), Hamming's for tokens;
    * ``mse_of_mean``: of the mean of all draws of a row, over real-valued flat entries; for several draws. No
      single answer has a smaller expected one than the conditional mean.

    Args:
        draws: samples of each row.
        geometry: whose distances are measured; in a recipe, the recipe's.
        codec: where there is one, data are measured flat; in a recipe, the recipe's.
    """

    better: ClassVar = {"mse": "lower", "mse_of_mean": "lower"}

    def __init__(self, draws: int = 1, geometry: Geometry | None = None, codec: Codec | None = None) -> None:
        super().__init__(draws, geometry, codec)

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare every draw, and their mean, with its truth."""
        drawn, truth = judged_rows(samples, real)
        values = {"mse": float(self.ruler.distances(drawn, truth).square().mean())}
        if len(drawn) > 1:
            try:
                pairs = Entries.of(samples, real, self.ruler, "mse_of_mean")
            except IncompatibleError:
                return values  # a mean of tokens, or on a curved space, is no answer
            off = pairs.mean((pairs.drawn.mean(0) - pairs.truth).square())
            values["mse_of_mean"] = float(off.mean())
        return values
