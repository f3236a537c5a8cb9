"""The metric contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

from flowloom.data.base import Dataset, Examples
from flowloom.errors import ShapeError


class Metric(ABC):
    """A comparison of two sets of examples.

    ``better`` names every value the metric returns and says which way is good; values it does not list are
    shown without a verdict. A metric draws any randomness of its own from a fixed seed, so that it gives
    the same value for the same two sets.

    Attributes:
        about: what a value means, for reports, in a sentence; of those not listed the docstring says it.
        silent: why it may return nothing of some examples, in a clause that ends a note beside the table.
        paired: True where it compares row by row: ``real[i]`` is then the truth of ``samples[i]``, which was
            drawn under the conditions of that held-out row. Of data without conditions there is no such
            truth.
        draws: samples that a paired metric wants of every row. With several, ``samples`` are all rows once,
            then all rows again: row i of draw d is ``samples[d * len(real) + i]``.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {}
    about: ClassVar[Mapping[str, str]] = {}
    silent: ClassVar[str] = ""
    paired: ClassVar[bool] = False
    draws: int = 1

    def fit(self, train: Dataset) -> None:  # noqa: B027  (most metrics have nothing to fit)
        """Prepare on the real training split (train a judge, say). Called once, before any comparison."""

    @abstractmethod
    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare ``samples`` with ``real``, which are held-out rows; returns named values."""

    def require_rows(self, samples: Examples, real: Examples) -> None:
        """For a metric to ask first, where it has no answer to nothing.

        Raises:
            ShapeError: one of the two has no rows.
        """
        if not len(samples) or not len(real):
            raise ShapeError(
                f"{type(self).__name__} compares rows with rows; got {len(samples)} samples and "
                f"{len(real)} real ones"
            )
