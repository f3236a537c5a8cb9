"""Distances between laws, class by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric, sliced_wasserstein
from flowloom.metrics.distances import flatten


class WithinClasses(Metric):
    """Sliced 2-Wasserstein distance between samples and real examples of the same class, mean over classes.

    Classes with fewer than two rows on either side are left out.

    Args:
        label: condition that holds the class.
        projections: random directions a class.
        seed: of the directions.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"class_sliced_wasserstein": "lower"}

    def __init__(self, label: str = "label", projections: int = 128, seed: int = 0) -> None:
        self.label, self.projections, self.seed = label, projections, seed

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``class_sliced_wasserstein``.

        Raises:
            IncompatibleError: there are no classes, or none that both sides have.
        """
        if self.label not in samples.cond or self.label not in real.cond:
            raise IncompatibleError(
                f"class-sliced-wasserstein needs examples with the condition '{self.label}'"
            )
        ours, theirs = samples.cond[self.label], real.cond[self.label]
        values = []
        for number in theirs.unique().tolist():
            a, b = (e.take((c == number).nonzero()[:, 0]) for e, c in ((samples, ours), (real, theirs)))
            if min(len(a), len(b)) >= 2:
                values.append(sliced_wasserstein(flatten(a), flatten(b), self.projections, self.seed))
        if not values:
            raise IncompatibleError("class-sliced-wasserstein found no class with two rows on both sides")
        return {"class_sliced_wasserstein": sum(values) / len(values)}
