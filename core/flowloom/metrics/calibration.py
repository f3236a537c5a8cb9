"""Whether the spread of answers is that of the truth: ranks, coverage and interval score."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowloom.codecs import Codec
from flowloom.data.base import Examples
from flowloom.geometry import Geometry
from flowloom.metrics.paired import MeasuredMetric
from flowloom.metrics.pairs import Entries

__all__ = ["Calibration", "rank_shares"]


def rank_shares(drawn: Tensor, truth: Tensor) -> Tensor:
    r"""Share of truths at every rank among their K draws: ``(K + 1,)``, 1/(K + 1) each where calibrated.

    The rank histogram of the probability integral transform (Hamill 2001). A truth that equals some draws
    stands at any of the ranks between them with the same weight, which is the non-randomised transform of
    Czado, Gneiting and Held (2009): what is always exactly right is calibrated.

    Args:
        drawn: ``(K, m)``.
        truth: ``(m,)``.
    """
    below, equal = (drawn < truth).sum(0), (drawn == truth).sum(0)
    share = 1.0 / (equal + 1).double()
    ranks = torch.zeros(len(drawn) + 2, dtype=torch.float64, device=drawn.device)
    # Each truth adds its share to the ranks below .. below + equal: as steps up and down, then summed.
    ranks.index_add_(0, below, share)
    ranks.index_add_(0, below + equal + 1, -share)
    return ranks.cumsum(0)[:-1] / max(truth.numel(), 1)


class Calibration(MeasuredMetric):
    r"""Coverage of central intervals and calibration of ranks, over all real and free entries.

    With K draws the truth of a calibrated forecast is as likely at each of the K + 1 ranks among them.

    * ``calibration_error``: mean over k = 1 .. K of :math:`|\hat F(k) - k / (K+1)|`, the share of truths
      below rank k against what it should be (Kuleshov et al. 1807.00263, eq. 9 with absolute values);
    * ``coverage``: share of truths within the interval between the draws of rank r and K + 1 - r, which a
      calibrated forecast covers with probability ``level``, as near as K allows (``coverage_wanted``);
    * ``interval_score``: :math:`(u - l) + \frac{2}{\alpha}(l - y)_+ + \frac{2}{\alpha}(y - u)_+` of that
      interval, :math:`\alpha = 1 - \mathrm{level}` (Gneiting and Raftery 2007, eq. 43): proper, it rewards
      narrow intervals and punishes those that miss;
    * ``interval_width``: :math:`u - l`, the sharpness.

    A forecast that knows nothing but the law of all rows is calibrated: read the first two beside a score.

    Args:
        draws: K; 19 give intervals of exactly 90, 80, ... per cent.
        level: of the interval, in (0, 1).
        geometry: curved and periodic parts are not judged; in a recipe, the recipe's.
        codec: where there is one, data are flat; in a recipe, the recipe's.
    """

    better: ClassVar = {"calibration_error": "lower", "interval_score": "lower"}

    def __init__(
        self,
        draws: int = 19,
        level: float = 0.9,
        geometry: Geometry | None = None,
        codec: Codec | None = None,
    ) -> None:
        super().__init__(draws, geometry, codec)
        if not 0 < level < 1:
            raise ValueError(f"level is a share in (0, 1), got {level}")
        self.level = level

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Rank every truth among its draws."""
        pairs = Entries.of(samples, real, self.ruler, "calibration")
        drawn, truth = pairs.each(pairs.drawn).sort(0).values, pairs.each(pairs.truth)
        k = len(drawn)
        shares = rank_shares(drawn, truth)
        wanted = torch.arange(1, k + 1, dtype=torch.float64) / (k + 1)
        # The pair of ranks whose interval is nearest to the level; never an empty one.
        rank = min(range(1, (k + 1) // 2 + 1), key=lambda r: abs(1 - 2 * r / (k + 1) - self.level))
        low, high = drawn[rank - 1], drawn[k - rank]
        alpha = 1 - self.level
        missed = (low - truth).clamp_min(0) + (truth - high).clamp_min(0)
        return {
            "calibration_error": float((shares.cumsum(0)[:-1] - wanted).abs().mean()),
            "coverage": float(shares[rank : k + 1 - rank].sum()),
            "coverage_wanted": 1 - 2 * rank / (k + 1),
            "interval_score": float((high - low + 2 / alpha * missed).mean()),
            "interval_width": float((high - low).mean()),
        }
