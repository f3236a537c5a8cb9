"""Data sets of the library ``datasets``: folders, files and the Hugging Face hub, in place or as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.data.files import is_hidden
from flowloom.errors import DataError, MissingDependencyError
from flowloom.spec import Spec
from flowloom.training import Stream
from flowloom.views import View
from flowloom_warehouse.columns import Classes, Columns, Table
from flowloom_warehouse.table import Source, TableData

__all__ = ["HubData", "HubStream"]

_FORMS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}
_CHUNK = 64


class HubData(TableData):
    """A data set of the library ``datasets`` (Hugging Face), read in place: rows are mapped from Arrow files.

    ``path`` is a folder that ``save_to_disk`` wrote, a file of parquet, JSON lines, CSV or Arrow, a folder of
    such files, or the name of a data set on the hub, which is fetched. No code of a data set is ever run.

    Args:
        path: what to read, relative to the working folder; see above.
        states: the column of the states, or one for every part.
        conditions: column by name of a condition.
        vocab: tokens there are, where states are whole numbers.
        classes: how many classes a condition has, or their names, where the files do not say; null for
            whole numbers that are no classes.
        shapes: event shape by column, for rows that are stored flat.
        splits: names of the splits in the files, where they are not ``train``, ``test`` and ``val``.
        config: which configuration of a data set on the hub.
        held_out: share held out as ``test`` where the files have no such split.

    Raises:
        MissingDependencyError: the package ``datasets`` is not installed.
        DataError: on first use, what is missing, damaged, empty, or of another type, by row and column.
    """

    def __init__(
        self,
        path: str,
        states: str | Mapping[str, str] = "x",
        conditions: Mapping[str, str] | None = None,
        vocab: int | Mapping[str, int] | None = None,
        classes: Mapping[str, int | list[str] | None] | None = None,
        shapes: Mapping[str, list[int]] | None = None,
        splits: Mapping[str, str] | None = None,
        config: str | None = None,
        held_out: float = 0.0,
    ) -> None:
        _require()
        super().__init__(Columns(states, conditions or {}, vocab, classes or {}, shapes or {}), held_out)
        self.path, self.splits, self.config = path, dict(splits or {}), config

    def source(self, split: str) -> Source:
        """Rows of a split."""
        return _Mapped(
            _opened(self.path, self.splits.get(split, split), self.config, streaming=False), self.path
        )


class _Mapped(Source):
    def __init__(self, data: Any, place: str) -> None:
        self.data, self.place = data, place
        self.columns = list(data.column_names)

    def __len__(self) -> int:
        return len(self.data)

    def read(self, rows: Sequence[int], columns: Sequence[str]) -> Table:
        """Rows as numpy."""
        try:
            return self.data.select_columns(list(columns)).with_format("numpy")[list(rows)]
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{self.place} cannot be read: {' '.join(str(error).split())}") from error

    def names(self, column: str) -> Sequence[str]:
        """Of a ClassLabel."""
        return tuple(getattr(self.data.features.get(column), "names", None) or ())


class HubStream(Stream):
    """Rows of a data set of the library ``datasets`` as they come: nothing is fetched or kept beforehand.

    Position k of the stream is always the same row, so a run goes on where it stopped (rows before are passed
    over); rows are shuffled within blocks, never by a buffer that a continuation could not fill again.

    Args:
        path: as `HubData` has it.
        states: the column of the states, or one for every part.
        conditions: column by name of a condition.
        vocab: tokens there are, where states are whole numbers.
        classes: of conditions that are whole numbers or words.
        shapes: event shape by column, for rows that are stored flat.
        split: which split.
        config: which configuration of a data set on the hub.
        views: what is made of the examples, in order; injected from the recipe.
        data: to judge by, and to say the spec; injected where the recipe has data.
        shuffle: rows of a block that are put in random order.

    Raises:
        MissingDependencyError: the package ``datasets`` is not installed.
        DataError: what is missing, damaged, empty, or of another type, by row and column.
    """

    def __init__(
        self,
        path: str,
        states: str | Mapping[str, str] = "x",
        conditions: Mapping[str, str] | None = None,
        vocab: int | Mapping[str, int] | None = None,
        classes: Mapping[str, int | list[str] | None] | None = None,
        shapes: Mapping[str, list[int]] | None = None,
        split: str = "train",
        config: str | None = None,
        views: Sequence[View] = (),
        data: Dataset | None = None,
        shuffle: int = 1000,
    ) -> None:
        _require()
        columns = Columns(states, conditions or {}, vocab, classes or {}, shapes or {})
        reader = _Reading(path, split, config, columns)
        super().__init__(reader, views, _Told(reader.spec) if data is None else data, shuffle)


class _Told(Dataset):
    """A spec without rows."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    @property
    def spec(self) -> Spec:
        """What the stream gives."""
        return self._spec

    def __len__(self) -> int:
        return 0

    def take(self, rows: Tensor) -> Examples:
        """There are none."""
        raise DataError("a stream has no rows to be asked for by number")


class _Reading:
    """``read(start)`` of a stream; asked for what lies ahead, it goes on from where it stands.

    One reader at a time, as `Stream` has it.
    """

    def __init__(self, path: str, split: str, config: str | None, columns: Columns) -> None:
        self.path, self.columns = path, columns
        self._data = _opened(path, split, config, streaming=True)
        first = list(islice(self._rows(self._data), 1))
        if not first:
            raise DataError(f"{path} is empty: split '{split}' has no rows")
        columns.require(list(first[0]), path)
        features = self._data.features or {}
        said: dict[str, Any] = {
            name: list(names)
            for name, column in columns.conditions.items()
            if name not in columns.classes and (names := getattr(features.get(column), "names", None))
        }
        told: Classes = {**said, **columns.classes}
        self.columns = Columns(columns.states, columns.conditions, columns.vocab, told, columns.shapes)
        self.spec = self.columns.spec({name: [value] for name, value in first[0].items()}, path)
        self._at = 0
        self._open: Iterator[Mapping[str, Any]] | None = None

    def __call__(self, start: int) -> Iterable[Examples]:
        """Examples from row ``start`` on."""
        if self._at > start or self._open is None:
            self._at, self._open = start, self._rows(self._data.skip(start) if start else self._data)
        rows = self._open
        self._at += sum(1 for _ in islice(rows, start - self._at))
        while True:
            found = list(islice(rows, _CHUNK))
            if not found:
                self._open = None
                return
            table = {name: [one[name] for one in found] for name in self.columns.names()}
            numbers = range(self._at, self._at + len(found))
            self._at += len(found)
            yield self.columns.examples(table, self.spec, self.path, list(numbers))

    def _rows(self, data: Any) -> Iterator[Mapping[str, Any]]:
        try:
            yield from data
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{self.path} cannot be read: {' '.join(str(error).split())}") from error


def _opened(path: str, split: str, config: str | None, *, streaming: bool) -> Any:
    """A split of a data set, mapped or as a stream."""
    import datasets

    datasets.disable_progress_bars()
    place = Path(path).expanduser()
    try:
        if (place / "dataset_dict.json").is_file() or (place / "state.json").is_file():
            found = datasets.load_from_disk(str(place))
            if isinstance(found, datasets.DatasetDict):
                found = _of(found, split, path)
            elif split != "train":
                raise DataError(f"{path} has no split '{split}'; it has: train")
            return found.to_iterable_dataset() if streaming else found
        files = _files(place)
        if files:
            form = _FORMS[files[0].suffix.lower()]
            if split != "train":
                raise DataError(f"{path} has no split '{split}'; it has: train (held_out makes a test split)")
            return datasets.load_dataset(
                form, data_files=[str(file) for file in files], split="train", streaming=streaming
            )
        if place.exists():
            raise DataError(f"{path} holds no data set, and no files that end in {', '.join(_FORMS)}")
        if path.startswith((".", "/", "~")) or place.suffix.lower() in _FORMS:
            raise DataError(f"there is no {path}")
        return datasets.load_dataset(path, config, split=split, streaming=streaming)
    except DataError:
        raise
    except Exception as error:  # of many kinds, by file format and transport
        line = " ".join(str(error.__cause__ or error).split())
        raise DataError(f"{path} cannot be read: {line[:300]}") from error


def _of(found: Mapping[str, Any], split: str, path: str) -> Any:
    if split not in found:
        raise DataError(f"{path} has no split '{split}'; it has: {', '.join(found)}")
    return found[split]


def _files(place: Path) -> list[Path]:
    """Files of one form: the one that is named, or those of a folder in the order of their names."""
    if place.is_file():
        if place.suffix.lower() not in _FORMS:
            raise DataError(f"{place} does not end in {', '.join(_FORMS)}")
        return [place]
    inside = sorted(place.iterdir()) if place.is_dir() else []
    found = [f for f in inside if f.suffix.lower() in _FORMS and f.is_file() and not is_hidden(f.name)]
    forms = {_FORMS[file.suffix.lower()] for file in found}
    if len(forms) > 1:
        raise DataError(f"{place} holds files of several forms ({', '.join(sorted(forms))}); name one file")
    return found


def _require() -> None:
    if find_spec("datasets") is None:
        raise MissingDependencyError(
            "the package 'datasets' is not installed; pip install 'flowloom-warehouse[hub]'"
        )
