"""What metrics of several draws beside the truth of their row have in common."""

from __future__ import annotations

from typing import ClassVar

from flowloom.codecs import Codec
from flowloom.geometry import Geometry
from flowloom.metrics.base import Metric
from flowloom.metrics.pairs import Ruler

__all__ = ["MeasuredMetric", "PairedMetric"]


class PairedMetric(Metric):
    """Compares draws with the truth of the same row.

    Args:
        draws: samples of each row.

    Raises:
        ValueError: there are none.
    """

    paired: ClassVar[bool] = True

    def __init__(self, draws: int = 1) -> None:
        if draws < 1:
            raise ValueError(f"draws must be at least 1, got {draws}")
        self.draws = draws


class MeasuredMetric(PairedMetric):
    """Measures how far they are from it.

    Args:
        draws: samples of each row.
        geometry: whose distances are measured; in a recipe, the recipe's.
        codec: where there is one, data are measured flat; in a recipe, the recipe's.
    """

    def __init__(self, draws: int = 8, geometry: Geometry | None = None, codec: Codec | None = None) -> None:
        super().__init__(draws)
        self.ruler = Ruler(geometry, codec)
