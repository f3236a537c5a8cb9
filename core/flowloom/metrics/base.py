"""The metric contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

from flowloom.data.base import Dataset, Examples


class Metric(ABC):
    """A comparison of two sets of examples.

    ``better`` names every value the metric returns and says which way is good; values it does not list are
    shown without a verdict. A metric draws any randomness of its own from a fixed seed, so that it gives
    the same value for the same two sets.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {}

    def fit(self, train: Dataset) -> None:  # noqa: B027  (most metrics have nothing to fit)
        """Prepare on the real training split (train a judge, say). Called once, before any comparison."""

    @abstractmethod
    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare ``samples`` with ``real``; returns named values."""
