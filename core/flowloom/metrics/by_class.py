"""A metric of the rows of each class by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from flowloom.data.base import Examples
from flowloom.errors import DataError, IncompatibleError, ShapeError
from flowloom.metrics.around import Around
from flowloom.metrics.base import Metric
from flowloom.metrics.pairs import drawn_rows
from flowloom.spec import Spec

__all__ = ["ByClass"]


class ByClass(Around):
    """Another metric, asked of the rows of each class by themselves.

    A value ``mse`` becomes ``mse_NAME`` for every class. Where the metric is paired, rows are of the class of
    their truth, whatever the samples were told; else samples and real rows are each of their own.

    Args:
        spec: of the data; injected from the recipe.
        metric: that is asked.
        condition: name of the class, one for a row.
        whole: whether its values of all rows are told as well, under their own names.

    Raises:
        IncompatibleError: the data have no such class.
    """

    silent = "no row is of that class"

    def __init__(self, spec: Spec, metric: Metric, condition: str = "label", whole: bool = False) -> None:
        found = spec.conditions.get(condition)
        if found is None or found.classes is None or found.shape:
            classes = [n for n, c in spec.conditions.items() if c.classes is not None and not c.shape]
            raise IncompatibleError(
                f"metric by-class: the data have no class '{condition}' of a row; they have: "
                f"{', '.join(classes) or 'none'}"
            )
        super().__init__(metric)
        self.condition, self.whole = condition, whole
        self.classes = tuple(found.names or map(str, range(found.classes)))

    @property
    def better(self) -> Mapping[str, Literal["lower", "higher"]]:  # type: ignore[override]
        """Those of the metric, for every class, and of all rows where they are told."""
        ways = self.metric.better
        return (dict(ways) if self.whole else {}) | {
            f"{value}_{name}": way for value, way in ways.items() for name in self.classes
        }

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Its values for every class that has rows on both sides."""
        self.require_rows(samples, real)
        if self.paired:
            drawn_rows(samples, real)  # refuses what is no whole number of draws
        found: dict[str, float] = dict(self.metric(samples, real)) if self.whole else {}
        for i, name in enumerate(self.classes):
            rows = self._of(real, i)
            mine = self._drawn(rows, len(samples), len(real)) if self.paired else self._of(samples, i)
            if len(rows) and len(mine):
                try:
                    values = self.metric(samples.take(mine), real.take(rows))
                except (DataError, IncompatibleError, ShapeError) as error:
                    raise type(error)(f"metric by-class: rows of class '{name}': {error}") from error
                found |= {f"{key}_{name}": value for key, value in values.items()}
        return found

    def _of(self, examples: Examples, label: int) -> Tensor:
        """Rows of a class."""
        return (examples.cond[self.condition] == label).nonzero()[:, 0].cpu()

    @staticmethod
    def _drawn(rows: Tensor, samples: int, n: int) -> Tensor:
        """The same rows of every draw, draw by draw."""
        return (torch.arange(0, samples, n)[:, None] + rows).flatten()
