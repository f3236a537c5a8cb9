"""How well the far ends of a law are met, in the coordinates of a mirror map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from flowloom.data import Examples
from flowloom.metrics import Metric
from flowloom.spec import Spec
from flowloom_geometries.bounded.mirror import MirrorMap
from flowloom_geometries.spaces import Polytope


class MirrorTail(Metric):
    """Relative error of a far quantile of the norm under `MirrorMap`, where a wall is far away.

    Args:
        domain: as the codec's.
        kappa: as the codec's.
        ridge: as the codec's.
        quantile: which.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"mirror_tail": "lower"}

    def __init__(
        self, domain: Polytope, kappa: float = 0.3, ridge: float = 1.0, quantile: float = 0.995
    ) -> None:
        if not 0 < quantile < 1:
            raise ValueError(f"quantile lies in (0, 1), got {quantile}")
        self.codec = MirrorMap(Spec((domain.dim,)), domain, kappa, ridge)
        self.quantile = quantile

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``mirror_tail``: ``|q - q_real| / q_real``."""
        self.require_rows(samples, real)
        ours, theirs = (self._far(examples.x) for examples in (samples, real))
        return {"mirror_tail": abs(ours - theirs) / theirs}

    def _far(self, x: object) -> float:
        assert isinstance(x, Tensor)
        inside = self.codec.domain.project(x.double().cpu())
        return float(self.codec.encode_state(inside).norm(dim=-1).quantile(self.quantile))
