"""Tasks: what is asked of a trained flow beyond free generation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from flowloom.data.base import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow

__all__ = ["Task"]


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

    def read(self, given: str, data: Dataset, n: int) -> Examples:
        """What a person typed, as ``n`` examples of this task.

        Args:
            given: words of the command line: a prompt, or the name of a file.
            data: the run's data set, which knows how its examples are written.
            n: number of answers wanted.

        Raises:
            IncompatibleError: the task cannot be asked in words.
        """
        raise IncompatibleError(f"{type(self).__name__} takes examples, which only Python can give")

    def show(self, answers: Examples, data: Dataset) -> list[str]:
        """One line of text for each answer, empty where answers are no text."""
        return []

    def write(self, answers: Examples, data: Dataset, file: Path) -> list[Path]:
        """Write answers to files of the kind that ``file`` names by its ending (a sound, a table).

        Args:
            answers: of this task.
            data: the run's data set.
            file: of the first answer; further ones stand beside it.

        Returns:
            The files written.

        Raises:
            IncompatibleError: answers of this task are no files.
        """
        raise IncompatibleError(f"{type(self).__name__} writes no {file.suffix} files; give --out a folder")
