"""Pairs of times: where a state stands, and how far ahead a flow map is to look."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.times import TimeLaw, Uniform

__all__ = ["Intervals", "gap_first"]


@dataclass(frozen=True)
class Intervals:
    """Ordered pairs ``s <= t``: two draws of one law, of which a share coincides.

    MeanFlow (2505.13447, section 4.3): draw two times, order them, and let a share of the rows look no
    further than where they stand, which makes their loss that of flow matching. The paper's time runs from
    data to noise, so that its larger time, at which the state stands, is our smaller one.

    Args:
        law: of either time before ordering.
        distinct: share of the rows whose two times differ, in ``[0, 1]``.

    Raises:
        ValueError: ``distinct`` is no share.
    """

    law: TimeLaw
    distinct: float = 0.25

    def __post_init__(self) -> None:
        if not 0 <= self.distinct <= 1:
            raise ValueError(f"distinct is a share of the rows in [0, 1], got {self.distinct}")

    @classmethod
    def of(cls, law: TimeLaw | None, distinct: float) -> Intervals:
        """Intervals of a law, uniform where None."""
        return cls(law or Uniform(), distinct)

    def sample(self, n: int, draw: Draw = GLOBAL) -> tuple[Tensor, Tensor]:
        """Times of state and target, ``(n,)`` each; the first rows have two, see `ahead`."""
        one, other = self.law.sample(n, draw), self.law.sample(n, draw)
        s, t = torch.minimum(one, other), torch.maximum(one, other)
        return s, torch.where(self.ahead(n, draw), t, s)

    def ahead(self, n: int, draw: Draw = GLOBAL) -> Tensor:
        """The first ``distinct n`` of ``n`` rows, ``(n,)``; what is no whole row is one by chance.

        So batches of a few rows, or of one, have their share over many steps.
        """
        whole, rest = divmod(round(self.distinct * n, 9), 1)
        rows = torch.arange(n, device=draw.device)
        return rows < whole + (draw.uniform(()) < rest if rest else 0)


def gap_first(law: TimeLaw, gap: TimeLaw, n: int, draw: Draw = GLOBAL) -> tuple[Tensor, Tensor]:
    """Times of state and target, ``(n,)`` each: the gap of one law, then the target of another, cut to fit.

    Terminal velocity matching (2511.19797): t has the law ``law`` given that it is at least ``t - s``.

    Args:
        law: of t before it is cut.
        gap: of t - s.
        n: how many.
        draw: where the numbers come from.
    """
    asked = draw.dtype or torch.get_default_dtype()
    if asked.itemsize < 4:  # quantiles need digits that half precision has not
        s, t = gap_first(law, gap, n, draw.in_dtype(torch.float32))
        return s.to(asked), t.to(asked)
    length = gap.sample(n, draw)
    below = _share_below(law, length)
    t = law.quantile(below + (1 - below) * draw.uniform((n,)).to(below)) * law.latest
    t = torch.maximum(t.clamp(max=1.0), length)
    return t - length, t


def _share_below(law: TimeLaw, t: Tensor) -> Tensor:
    """The distribution function of a law by bisection of its quantiles."""
    low, high = torch.zeros_like(t), torch.ones_like(t)
    for _ in range(40):
        middle = (low + high) / 2
        under = law.quantile(middle) * law.latest < t
        low, high = torch.where(under, middle, low), torch.where(under, high, middle)
    return low
