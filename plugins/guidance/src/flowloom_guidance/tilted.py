"""Energies that tilt, and metrics against a tilted law."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.energies import Energy
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom.spec import Spec
from flowloom.state import Cond, State

__all__ = ["Linear", "Tilted"]


class Linear(Energy):
    r""":math:`E(x) = \langle a, x\rangle`: tilts a law exponentially along one direction.

    Args:
        slope: a, as many numbers as a state has; or one for all entries of the data.
        spec: of the data, which says how many these are; injected from the recipe.

    Raises:
        IncompatibleError: one slope for all entries of data that are no single real tensor.
    """

    def __init__(self, slope: Sequence[float] | float = (-1.0, 0.0), spec: Spec | None = None) -> None:
        if isinstance(slope, (int, float)):
            if spec is None or spec.parts or spec.vocab is not None:
                raise IncompatibleError(
                    "linear: one slope for all entries is of data that are one tensor of real numbers; give "
                    "a slope for every entry"
                )
            self.spec = Spec(spec.shape)
            self.slope = torch.full((spec.numel(),), float(slope), dtype=torch.float64)
        else:
            self.slope = torch.as_tensor(list(slope), dtype=torch.float64)
            self.spec = Spec((len(self.slope),))

    def __call__(self, x: State, cond: Cond) -> Tensor:
        """The product with every row."""
        assert isinstance(x, Tensor)
        return x.flatten(1) @ self.slope.to(x)


class Tilted(Metric):
    r"""Another metric, against the law :math:`p(x)\,e^{-E(x)}`: held-out rows, resampled.

    Args:
        of: the metric, of two sets and not of pairs.
        energy: E; in a recipe, the recipe's.

    Raises:
        IncompatibleError: the metric compares row by row, and a resampled row is no sample's truth.
    """

    def __init__(self, of: Metric, energy: Energy) -> None:
        if of.paired:
            raise IncompatibleError(
                f"metric tilted resamples held-out rows, and {type(of).__name__} compares samples with their "
                "own; take one of two sets, such as energy-distance"
            )
        self.of, self.energy = of, energy

    @property
    def better(self) -> Mapping[str, Literal["lower", "higher"]]:  # type: ignore[override]
        """As of the metric, under other names."""
        return {f"tilted_{name}": way for name, way in self.of.better.items()}

    def fit(self, train: Dataset) -> None:
        """As the metric does."""
        self.of.fit(train)

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare with as many resampled rows."""
        self.require_rows(samples, real)
        weights = (-self.energy(real.x, real.cond)).double().softmax(0)
        n = len(real)
        # Even steps through the weights: the same rows in any order of them would be a law of another order.
        places = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        rows = torch.searchsorted(weights.cumsum(0), places).clamp_max(n - 1)
        layout = None if real.layout is None else real.layout.take(rows)
        found = self.of(samples, replace(real.take(rows), layout=layout))
        return {f"tilted_{name}": value for name, value in found.items()}
