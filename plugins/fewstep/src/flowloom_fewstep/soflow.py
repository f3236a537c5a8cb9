"""SoFlow: the solution of the flow's equation, by short steps that grow shorter."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.draw import Draw
from flowloom.objectives import Step
from flowloom.paths import Path
from flowloom.times import TimeLaw, Uniform
from flowloom_fewstep.composition import short_step_residual
from flowloom_fewstep.guided_target import GuidedTarget
from flowloom_fewstep.identity import Residual
from flowloom_fewstep.pairs import Pair, PairObjective
from flowloom_fewstep.ratios import ExponentialRatio, Ratio, ratio_at
from flowloom_fewstep.unit_time import require_unit_time

__all__ = ["SoFlow"]

_SHORTEST = 1e-4  # gap between two times, the paper's


class SoFlow(PairObjective):
    r"""Flow matching beside solution consistency (Luo et al. 2512.15657).

    The solution map is :math:`f(x, s, t) = x + (t - s) F(x, s, t)` (the paper's Euler choice), F the network.
    With :math:`m = s + r (t - s)` and :math:`x_m = x_s + (m - s)\, v`,

    .. math:: q = \frac{f(x_s, s, t) - \mathrm{sg} f(x_m, m, t)}{m - s}
                = \frac{1}{r} \big(F(x_s, s, t) - \mathrm{sg}(r v + (1 - r) F(x_m, m, t))\big)

    and the gradient is that of :math:`\langle F_\theta, \mathrm{sg}(w q)\rangle`, :math:`w = 1 / (|q|^2 +
    c)^p`: the error of `flowloom_fewstep.composition`, weighed by :math:`1 / r` as it is of size r. The error
    is summed over entries, where the authors average: their c is ours over the number of entries. The ratio r
    falls exponentially.

    Args:
        path: see `PairObjective`.
        times: law of the time of flow-matching rows; in ours the paper's is ``{use: logit-normal,
            mean: 0.2}``.
        state_times: law of s; the paper's ``{use: logit-normal, mean: -0.2, std: 0.8}``.
        target_times: law of t; the paper's ``{use: logit-normal, mean: 1.0, std: 0.8}``. A pair in the wrong
            order is turned round.
        ratio: r, or how it falls.
        distinct: share of consistency rows, 1/4 on ImageNet and 1 on CIFAR-10.
        power: p.
        floor: c; the paper's 0.01 (0.001 on CIFAR-10) times the number of entries.
        guided: guidance to train in; the paper's scale w is ``{scale: w / 4, mix: 0.75, fade: 0.2}``.
        condition_dropout: see `PairObjective`.

    Raises:
        ValueError: the ratio is out of range.
    """

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        state_times: TimeLaw | None = None,
        target_times: TimeLaw | None = None,
        ratio: float | ExponentialRatio | None = None,
        distinct: float = 0.25,
        power: float = 1.0,
        floor: float = 0.01,
        guided: GuidedTarget | None = None,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__(path, times, distinct, power, floor, guided, condition_dropout)
        if isinstance(ratio, int | float) and not 0 < ratio <= 1:
            raise ValueError(f"ratio must lie in (0, 1], got {ratio}")
        self.ratio: Ratio = ExponentialRatio() if ratio is None else ratio
        require_unit_time("soflow", self.path, state_times, target_times)
        self.state_times, self.target_times = state_times or Uniform(), target_times or Uniform()

    def draw_times(self, n: int, draw: Draw, step: Step) -> tuple[Tensor, Tensor]:
        """Pairs of consistency rows, then one time twice for the others."""
        one, other = self.state_times.sample(n, draw), self.target_times.sample(n, draw)
        now = self.intervals.law.sample(n, draw)
        t = torch.maximum(one, other).clamp_min(_SHORTEST)
        s = torch.minimum(torch.minimum(one, other), t - _SHORTEST)
        ahead = self.intervals.ahead(n, draw)
        return torch.where(ahead, s, now), torch.where(ahead, t, now)

    def residual(self, pair: Pair, step: Step) -> Residual:
        """Two network calls, one of them with gradient."""
        return short_step_residual(pair, ratio_at(self.ratio, step.progress))
