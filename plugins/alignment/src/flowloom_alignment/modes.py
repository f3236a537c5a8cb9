"""How widely samples spread over the classes of a data set."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric

__all__ = ["Modes"]


class Modes(Metric):
    r"""Shares of samples by the nearest class mean: :math:`e^{H}` of them, the largest, and the distance.

    Args:
        of: a data set with classes, in whose training split the modes are; the recipe's own data where left
            out.
        label: the condition that says the class.
    """

    better: ClassVar = {"modes": "higher", "mode_distance": "lower"}
    about: ClassVar = {
        "modes": "How many modes samples spread over: the exponential of the entropy of their shares.",
        "mode_distance": "Mean distance of samples to the nearest mode.",
        "largest_mode": "Share of the samples in the fullest mode.",
    }

    def __init__(self, of: Dataset | None = None, label: str = "label") -> None:
        self.of, self.label = of, label
        self._centres: Tensor | None = None

    def fit(self, train: Dataset) -> None:
        """Take the mean of every class.

        Raises:
            IncompatibleError: there are no such classes.
        """
        data = self.of or train
        if data.spec.conditions.get(self.label) is None or data.spec.discrete or data.spec.parts:
            raise IncompatibleError(
                f"modes are the classes '{self.label}' of points, and the data have none; give of: a data set"
            )
        # Evenly spread: the first rows of a file sorted by class are of one class.
        rows = data.take(data.evenly(20_000))
        label, x = rows.cond[self.label], rows.x
        assert isinstance(x, Tensor)
        self._centres = torch.stack([x[label == k].double().mean(0) for k in label.unique()]).flatten(1)

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Assign the samples; the real ones are not looked at."""
        self.require_rows(samples, samples)
        assert self._centres is not None
        assert isinstance(samples.x, Tensor)
        away = torch.cdist(samples.x.double().flatten(1).cpu(), self._centres)
        near, mode = away.min(1)
        shares = torch.bincount(mode, minlength=len(self._centres)).double() / len(mode)
        entropy = torch.special.entr(shares).sum()
        return {
            "modes": float(entropy.exp()),
            "mode_distance": float(near.mean()),
            "largest_mode": float(shares.max()),
        }
