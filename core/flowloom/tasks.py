"""Tasks: what is asked of a trained flow beyond free generation."""

from __future__ import annotations

from abc import ABC, abstractmethod

from flowloom.data.base import Examples
from flowloom.flow import Flow


class Task(ABC):
    """Asks something of a flow about given examples: fill in, classify, separate, edit, invert."""

    @abstractmethod
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> Examples:
        """Answer for every row.

        Args:
            flow: a trained flow.
            examples: what the task is about (states with holes, say), with their conditions.
            seed: of everything random.

        Returns:
            As many rows: the answers as states, with what belongs to them in ``cond``.
        """
