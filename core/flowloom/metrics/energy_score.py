"""Energy score: a proper score of the whole conditional law, in any dimension."""

from __future__ import annotations

from typing import ClassVar

from flowloom.data.base import Examples
from flowloom.metrics.paired import MeasuredMetric
from flowloom.metrics.pairs import judged_rows

__all__ = ["EnergyScore"]


class EnergyScore(MeasuredMetric):
    r"""Energy score of the draws of a row: :math:`E\,d(x, y) - \tfrac12 E\,d(x, x')`.

    Gneiting and Raftery (2007), eq. 21. Its expectation is smallest for the true conditional law alone: it
    sees bias and wrong spread alike. The second mean is over distinct draws, which makes the estimate fair:
    unbiased for any number of draws (Ferro 2014). For one real number it is the CRPS; d is the root mean
    square distance over real and free entries: of the geometry, the root of Hamming's share for tokens.

    All this is of distances of negative type (Székely and Rizzo 2013): those of flat spaces, of tokens, and
    of one point on a circle, a sphere or hyperbolic space. Several circles together (a torus) and rotations
    have others (Venet 2019): there it still measures, but another law than the true one may score better.

    Args:
        draws: samples of each row. With one it is the mean distance, which is the score of that sure answer.
        geometry: whose distances are measured; in a recipe, the recipe's.
        codec: where there is one, data are measured flat; in a recipe, the recipe's.
    """

    better: ClassVar = {"energy_score": "lower"}

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare the draws of every row with its truth, and with each other."""
        drawn, truth = judged_rows(samples, real)
        score = self.ruler.distances(drawn, truth).mean(0)
        if len(drawn) > 1:
            score = score - self.ruler.spread(drawn, truth) / 2
        return {"energy_score": float(score.mean())}
