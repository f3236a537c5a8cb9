"""The baseline contract: a rule of the domain that a flow has to beat."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from flowloom.data.base import Dataset, Examples

__all__ = ["Baseline"]


class Baseline(ABC):
    """Answers under the conditions of rows without any flow: constant velocity, last season, the nearest row.

    A recipe lists baselines; each is a column of the tables, judged by the same metrics on the same rows.

    Attributes:
        name: what the column is called; the component's own name where empty.
    """

    name: str = ""

    def fit(self, train: Dataset) -> None:  # noqa: B027  (most have nothing to fit)
        """Look at the training split. Called once, before any question."""

    @abstractmethod
    def __call__(self, asked: Examples, generator: torch.Generator) -> Examples:
        """One answer for every row; a rule that draws nothing gives the same again.

        Args:
            asked: rows on the CPU, of which the conditions and what the layout gives are looked at, and not
                the states.
            generator: on the CPU, of everything drawn.

        Returns:
            As many rows of data, given entries as they were.

        Raises:
            IncompatibleError: such rows cannot be answered; says what would fit.
        """
