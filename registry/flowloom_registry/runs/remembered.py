"""The data of a run that is opened: what is remembered of them does where no rows are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError, FlowloomError
from flowloom.spec import Spec
from flowloom_registry.runs.folder import RunFolder
from flowloom_registry.runs.same_data import remembered

__all__ = ["Remembered", "standing_in"]


class Remembered(Dataset):
    """A data set whose spec a run wrote down, and whose rows are read when somebody asks for them.

    Args:
        folder: of the run.
        make: makes the data set itself.
    """

    def __init__(self, folder: RunFolder, make: Callable[[], Dataset]) -> None:
        self._spec, self._rows = remembered(folder.data)
        self.folder, self._make = folder, make
        self._data: Dataset | None = None

    @property
    def spec(self) -> Spec:
        """As it was when the run began."""
        return self._spec

    def __len__(self) -> int:
        return self._rows

    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows``.

        Raises:
            DataError: the data are not at hand; says what would do without them.
        """
        return self._there().take(rows)

    def split(self, name: str) -> Dataset:
        """Another split of the data."""
        return self._there().split(name)

    def _there(self) -> Dataset:
        if self._data is None:
            try:
                data = self._make()
                length = len(data)
            except FlowloomError as error:
                raise DataError(
                    f"rows of the data of {self.folder.path} are asked for (conditions and metrics come from "
                    f"held-out ones), and they are not here: {error}"
                ) from error
            if length != self._rows or data.spec != self._spec:
                raise DataError(
                    f"the data is not what {self.folder.path} was trained on; put the old data back"
                )
            self._data = data
        return self._data


def standing_in(folder: RunFolder, *, always: bool = False) -> Callable[[Callable[[], Any]], Any]:
    """What gives the data of a run that is opened: the data set, or `Remembered` where it cannot be read.

    Args:
        folder: of the run.
        always: nothing is read before rows are asked for, even where the data are at hand.
    """

    def data(make: Callable[[], Any]) -> Any:
        known = folder.data.is_file()
        if always and known:
            return Remembered(folder, make)
        try:
            made = make()
            _ = len(made), made.spec  # files are read on first use
            return made
        except FlowloomError:
            if not known:
                raise
            return Remembered(folder, make)

    return data
