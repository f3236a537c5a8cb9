"""The task contract: questions with their truth, and answers of a flow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch

from flowloom.data.base import Dataset, Examples
from flowloom.digits import are_digits
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.metrics import Metric

__all__ = ["Task", "some_rows"]


class Task(ABC):
    """Asks something of a flow that it can be right or wrong about: fill in, predict, separate, edit, invert.

    A recipe lists tasks, each with the metrics that judge its answers. A run poses the questions on held-out
    rows, asks each as often as its paired metrics want draws, and shows asked, answered and truth side by
    side. Subclasses hand these three arguments on; what they add is their own.

    Args:
        metrics: judges of the answers; in a recipe, the recipe's own where none are named.
        draws: answers to every question; as many as the metrics want where None.
        name: what it is called in tables and files; the component's own name where empty.

    Attributes:
        unasked: answers that a command line wants where nothing is said of what the task is about, and `read`
            is given an empty text; 0 where something has to be said.
        writes: endings of the files that `write` knows, such as ``.wav``; none where answers are no files.
        viewed: whether `read` is given the data after the recipe's views, as `pose` is: where it takes rows
            by number, for views make what is known of them. What a person writes is of the data alone.
        exact: whether the truth of `pose` answers its question in everything, as a column that went through
            a codec does. False where it stands for a part of the answer, such as a voice.
    """

    unasked: ClassVar[int] = 0
    writes: ClassVar[tuple[str, ...]] = ()
    viewed: ClassVar[bool] = False
    exact: ClassVar[bool] = True

    def __init__(self, metrics: Sequence[Metric] = (), draws: int | None = None, name: str = "") -> None:
        if draws is not None and draws < 1:
            raise ValueError(f"draws counts answers to a question from 1, got {draws}")
        if name.startswith(".") or "/" in name or "\\" in name:
            raise ValueError(f"name is that of a folder: no slash, and no dot to begin with; got {name!r}")
        self.metrics, self.name = tuple(metrics), name
        wanted = [metric.draws for metric in self.metrics if metric.paired]
        self.draws: int = draws if draws is not None else max(wanted, default=1)

    @abstractmethod
    def pose(self, data: Dataset, n: int, generator: torch.Generator) -> tuple[Examples, Examples]:
        """Questions about ``n`` rows, and the truth of the same rows.

        Args:
            data: held-out rows as the flow is judged by them, the recipe's views included.
            n: number of questions; as many as there are rows where those are fewer.
            generator: on the CPU, of everything drawn; the same one poses the same questions.

        Returns:
            What is asked, with nothing of the answer in it, and what is right: data of equally many rows on
            the CPU. Layouts that they carry say what is padding and what was given; metrics count neither.

        Raises:
            IncompatibleError: such data cannot be asked about; says what would fit.
        """

    @abstractmethod
    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """Answer for every row.

        Args:
            flow: a trained flow.
            asked: what the task is about (states with holes, say), with their conditions.
            seed: of everything random; another one gives another draw.

        Returns:
            As many rows: the answers as data, with what belongs to them in ``cond``.
        """

    def shown(self, asked: Examples) -> Examples | None:
        """What of the questions a renderer of data can show; None where it can show nothing."""
        return asked

    def untouched(self, asked: Examples) -> Examples | None:
        """The questions where they are answers too: a noisy recording, to which nothing was done.

        Runs judge them beside the answers. Data of the form of the answers; None where a question is no
        answer, which is the default.
        """
        return None

    def read(self, given: str, data: Dataset, n: int) -> Examples:
        """What a person typed, as ``n`` examples of this task.

        Args:
            given: words of the command line: a prompt, a row, or the name of a file; empty where nothing was
                said, for a task that allows it (`unasked`).
            data: the run's data set, which knows how its examples are written; after its views where the task
                is `viewed`.
            n: number of answers wanted.

        Raises:
            IncompatibleError: the task cannot be asked in words.
        """
        raise IncompatibleError(f"{type(self).__name__} takes examples, which only Python can give")

    def example(self, data: Dataset) -> str:
        """Words that `read` takes, for the report of a run to show; empty by default, where there are none.

        Args:
            data: held-out rows, as `read` is given them.
        """
        return ""

    def show(self, answers: Examples, data: Dataset) -> list[str]:
        """One line of text for each answer, empty where answers are no text."""
        return []

    def require_writes(self, file: Path) -> None:
        """Refuse a file whose ending is none of ``writes``, before anything is answered.

        Raises:
            IncompatibleError: answers of this task are no such files; says which they are.
        """
        if file.suffix.lower() not in self.writes:
            or_file = f", or a file that ends in {', '.join(self.writes)}" if self.writes else ""
            raise IncompatibleError(
                f"{type(self).__name__} writes no {file.suffix} files; give --out a folder{or_file}"
            )

    def write(self, answers: Examples, data: Dataset, file: Path) -> list[Path]:
        """Write answers to files of the kind that ``file`` names by its ending (a sound, a table).

        Args:
            answers: of this task.
            data: the run's data set.
            file: of the first answer; further ones stand beside it.

        Returns:
            The files written.

        Raises:
            IncompatibleError: answers of this task are no such files.
        """
        self.require_writes(file)
        raise NotImplementedError(f"{type(self).__name__} says that it writes {file.suffix} and does not")


def some_rows(data: Dataset, n: int, generator: torch.Generator) -> Examples:
    """``n`` rows of a data set in an order drawn by ``generator``; all of them where it has fewer."""
    return data.take(torch.randperm(len(data), generator=generator)[:n])


def row_given(given: str, data: Dataset, n: int, says: str) -> Examples:
    """The row that a person named by its number, ``n`` times.

    Args:
        given: digits.
        data: where it is.
        n: how often.
        says: how the message begins: ``inpaint takes``.

    Raises:
        IncompatibleError: there is no such row.
    """
    if not are_digits(given) or int(given) >= len(data):
        raise IncompatibleError(f"{says} a row of the data, 0 to {len(data) - 1}; got {given!r}")
    return data.take(torch.full((n,), int(given)))
