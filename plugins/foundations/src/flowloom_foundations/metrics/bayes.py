"""Whether samples look like the class they were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom_foundations.data import NormalClasses


class BayesAccuracy(Metric):
    """Share of samples whose class the true law itself would guess. Real data are guessed right less than
    always.

    Args:
        data: whose law is known; injected from the recipe.
        label: condition that holds the class.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"bayes_accuracy": "higher"}

    def __init__(self, data: NormalClasses, label: str = "label") -> None:
        self.data, self.label = data, label

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``bayes_accuracy``."""
        if self.label not in samples.cond or not isinstance(samples.x, Tensor):
            raise IncompatibleError(f"bayes-accuracy needs points with the condition '{self.label}'")
        self.require_rows(samples, real)
        right = self.data.class_of(samples.x.cpu()) == samples.cond[self.label].cpu()
        return {"bayes_accuracy": float(right.float().mean())}
