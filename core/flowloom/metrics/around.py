"""A metric that asks another one."""

from __future__ import annotations

from flowloom.data.base import Dataset
from flowloom.metrics.base import Metric

__all__ = ["Around"]


class Around(Metric):
    """Another metric, asked in a way of its own: paired, drawn and fitted as that one is.

    Args:
        metric: that is asked.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric, self.draws = metric, metric.draws

    @property
    def paired(self) -> bool:  # type: ignore[override]
        """As the metric is."""
        return self.metric.paired

    def fit(self, train: Dataset) -> None:
        """Prepare the metric."""
        self.metric.fit(train)
