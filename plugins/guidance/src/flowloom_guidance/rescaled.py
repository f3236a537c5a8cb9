"""Classifier-free guidance that keeps the size of the conditional answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from flowloom.fields import Field
from flowloom.layout import Layout, mean_of_entries
from flowloom.state import expand, map_state
from flowloom_guidance.two_branches import TwoBranches, row_norm

__all__ = ["Rescaled"]


class Rescaled(TwoBranches):
    r"""Guidance at the deviation of the conditional branch (Lin et al. 2305.08891, equations 15 and 16).

    .. math::
        v_w = v_\varnothing + w\,(v_c - v_\varnothing), \qquad
        v = \phi\, v_w\, \frac{\mathrm{std}(v_c)}{\mathrm{std}(v_w)} + (1 - \phi)\, v_w

    with deviations over a row (of what is real and free). Strong weights otherwise make samples too bright
    and too contrasted.

    Args:
        weight: w.
        share: phi, the paper's 0.7.
        of: ``own`` rescales what the network answers with, as in the paper; ``data`` the data it implies.
        conditions: names of the conditions that the null branch withholds; all where empty.
    """

    def __init__(
        self,
        weight: float = 7.5,
        share: float = 0.7,
        of: Literal["own", "data"] = "own",
        conditions: Sequence[str] = (),
    ) -> None:
        super().__init__(weight, conditions)
        if not 0 <= share <= 1:
            raise ValueError(f"share must lie in [0, 1], got {share}")
        self.share = share
        self.of: Literal["own", "data"] = of

    def mixed(
        self, told: Tensor, null: Tensor, x: Tensor, t: Any, field: Field, layout: Layout | None = None
    ) -> Tensor:
        """Mixed, then rescaled."""
        guided = torch.lerp(null, told, self.weight)
        path, kind = field.path, field.kind
        if self.of == "own" or kind == "data" or path is None or not isinstance(kind, str):
            return guided * self._factor(guided, told, layout)
        if not path.converts(kind, "data", field.source):
            return guided * self._factor(guided, told, layout)
        # Both at once; and c times the data are c times the value, and the data 0 for the rest.
        n, twice = len(x), map_state(lambda v: torch.cat([v, v]), t)
        both = path.convert(torch.cat([guided, told]), torch.cat([x, x]), twice, kind, "data", field.source)
        nothing = path.convert(torch.zeros_like(x), x, t, "data", kind, field.source)
        assert isinstance(both, Tensor)
        assert isinstance(nothing, Tensor)
        return torch.lerp(nothing, guided, self._factor(both[:n], both[n:], layout))

    def _factor(self, guided: Tensor, told: Tensor, layout: Layout | None) -> Tensor:
        """One number a row."""
        factor = _spread(told, layout) / _spread(guided, layout).clamp_min(1e-12)
        return 1 + self.share * (factor - 1)


def _spread(x: Tensor, layout: Layout | None) -> Tensor:
    """The deviation over a row, but for the root of its entries, which a ratio does not see."""
    mean = mean_of_entries(x, None if layout is None else layout.free)
    return row_norm(x - expand(mean, x), layout).to(x.dtype)
