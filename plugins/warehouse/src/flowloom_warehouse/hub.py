"""Data sets of the library ``datasets``: folders, files and the Hugging Face hub, in place or as a stream."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from itertools import islice
from operator import getitem
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.data.files import is_hidden
from flowloom.errors import DataError, MissingDependencyError
from flowloom.spec import Spec
from flowloom.training import Stream
from flowloom.views import View
from flowloom_warehouse.columns import Classes, Columns, Table
from flowloom_warehouse.held_out import HeldOut
from flowloom_warehouse.table import Source, TableData, unchanged

__all__ = ["HubData", "HubStream"]

_FORMS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}
_CHUNK = 64


class HubData(TableData):
    """A data set of the library ``datasets`` (Hugging Face), read in place: rows are mapped from Arrow files.

    ``path`` is a folder that ``save_to_disk`` wrote, a file of parquet, JSON lines, CSV or Arrow, a folder of
    such files, or the name of a data set on the hub, which is fetched. No code of a data set is ever run.
    Which files of a folder are which split, ``datasets`` says: those named for one (``train-000.parquet``,
    ``test/rows.parquet``) are, and where none is, all are ``train``.

    Args:
        path: what to read, relative to the working folder; see above.
        states: the column of the states, or one for every part.
        conditions: column by name of a condition.
        vocab: tokens there are, where states are whole numbers.
        classes: how many classes a condition has, or their names, where the files do not say; null for
            whole numbers that are no classes.
        shapes: event shape by column, for rows that are stored flat.
        splits: names of the splits in the files, where they are not ``train``, ``test`` and ``val`` (or
            ``validation``).
        config: which configuration of a data set on the hub.
        held_out: share held out as ``test`` where the files have no such split; see `HeldOut`.

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
        self._found: _Splits | None = None

    def source(self, split: str) -> Source:
        """Rows of a split of the files."""
        return _Mapped(self._splits().open(self.splits.get(split, split)), self.path)

    def has_test(self) -> bool:
        """Whether the files have a split ``test`` of their own."""
        return self._splits().has(self.splits.get("test", "test"))

    def _splits(self) -> _Splits:
        if self._found is None:
            self._found = _splits(self.path, self.config, streaming=False)
        return self._found


class _Mapped(Source):
    def __init__(self, data: Any, place: str) -> None:
        self.data, self.place = data, place
        self.columns = list(data.column_names)

    def __len__(self) -> int:
        return len(self.data)

    def read(self, rows: Sequence[int], columns: Sequence[str]) -> Table:
        """Rows as numpy."""
        try:
            return self._read(rows, columns)
        except Exception as error:  # decoders of several libraries
            for column in columns:
                for row in rows:
                    try:
                        self._read([row], [column])
                    except Exception as own:
                        raise DataError(
                            f"{self.at(row)}: column {column!r} cannot be read: {_line(own)}"
                        ) from own
            raise DataError(f"{self.place} cannot be read: {_line(error)}") from error

    def _read(self, rows: Sequence[int], columns: Sequence[str]) -> Table:
        return self.data.select_columns(list(columns)).with_format("numpy")[list(rows)]

    def names(self, column: str) -> Sequence[str]:
        """Of a ClassLabel."""
        return tuple(getattr(self.data.features.get(column), "names", None) or ())

    def fingerprint(self) -> str | None:
        """The Arrow files, and which of their rows."""
        files = [Path(one["filename"]) for one in self.data.cache_files]
        return f"{unchanged(files)} {self.data.split} {len(self)}" if files else None


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
        held_out: share of split ``train`` that is left out where the files have no split ``test``: the rows
            that `HubData` of the same share holds out.
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
        held_out: float = 0.0,
        views: Sequence[View] = (),
        data: Dataset | None = None,
        shuffle: int = 1000,
    ) -> None:
        _require()
        columns = Columns(states, conditions or {}, vocab, classes or {}, shapes or {})
        reader = _Reading(path, split, config, columns, HeldOut(held_out))
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

    def __init__(
        self, path: str, split: str, config: str | None, columns: Columns, held_out: HeldOut
    ) -> None:
        self.path, self.columns = path, columns
        found = _splits(path, config, streaming=True)
        self._data = found.open(split)
        self.held_out = held_out if split == "train" and not found.has("test") else HeldOut(0)
        first = list(islice(self._rows(0), 1))
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
        self.spec = self.columns.spec({name: [value] for name, value in first[0].items()}, self._at_row)
        self._at = 0
        self._open: Iterator[Mapping[str, Any]] | None = None

    def __call__(self, start: int) -> Iterable[Examples]:
        """Examples from row ``start`` on, of those that are not held out."""
        first = int(self.held_out.kept(torch.tensor([start])))
        if self._at > first or self._open is None:
            self._at, self._open = first, self._rows(first)
        rows = self._open
        self._at += sum(1 for _ in islice(rows, first - self._at))
        while True:
            found = list(islice(rows, _CHUNK))
            if not found:
                self._open = None
                return
            numbers = torch.arange(self._at, self._at + len(found))
            self._at += len(found)
            kept = (~self.held_out.holds(numbers)).nonzero().flatten()
            if len(kept):
                # A row of JSON may lack a column that others have.
                table = {name: [found[i].get(name) for i in kept.tolist()] for name in self.columns.names()}
                yield self.columns.examples(table, self.spec, self._at_row, numbers[kept].tolist())

    def _at_row(self, row: int) -> str:
        return f"{self.path}, row {row}"

    def _rows(self, start: int) -> Iterator[Mapping[str, Any]]:
        row = start
        try:
            for one in self._data.skip(start) if start else self._data:
                yield one
                row += 1
        except Exception as error:  # of many kinds, by file format, transport and decoder
            column = self._undecoded(row)
            what = f": column {column!r} cannot" if column else " cannot"
            raise DataError(f"{self._at_row(row)}{what} be read: {_line(error)}") from error

    def _undecoded(self, row: int) -> str | None:
        """The column that no decoder reads, where that is what is wrong with a row."""
        coded = {name: one for name, one in (self._data.features or {}).items() if hasattr(one, "decode")}
        with suppress(Exception):
            values = next(iter(self._data.decode(False).skip(row)))
            for name, feature in coded.items():
                try:
                    feature.decode_example(values[name])
                except Exception:
                    return name
        return None


class _Splits:
    """The splits of a data set, each opened when it is asked for.

    Args:
        path: for messages.
        names: of them.
        of: opens one.
    """

    def __init__(self, path: str, names: Sequence[str], of: Callable[[str], Any]) -> None:
        self.path, self.names, self._of = path, list(names), of

    def has(self, name: str) -> bool:
        """Whether there is a split of that name."""
        return self._own(name) in self.names

    def open(self, name: str) -> Any:
        """A split.

        Raises:
            DataError: there is none of that name, or it cannot be read.
        """
        own = self._own(name)
        if own not in self.names:
            hint = " (held_out makes a test split)" if name == "test" else ""
            raise DataError(f"{self.path} has no split '{name}'; it has: {', '.join(self.names)}{hint}")
        with _told(self.path):
            return self._of(own)

    def _own(self, name: str) -> str:
        return "validation" if name == "val" and name not in self.names else name


def _splits(path: str, config: str | None, *, streaming: bool) -> _Splits:
    """The splits of a data set, mapped or as streams."""
    import datasets

    datasets.disable_progress_bars()
    place = Path(path).expanduser()
    with _told(path):
        if (place / "dataset_dict.json").is_file() or (place / "state.json").is_file():
            found = datasets.load_from_disk(str(place))
            kept = found if isinstance(found, datasets.DatasetDict) else {"train": found}
            if streaming:
                kept = {name: one.to_iterable_dataset() for name, one in kept.items()}
            return _Splits(path, list(kept), partial(getitem, kept))
        files = _files(place, config)
        if files:
            form = _FORMS[next(iter(files.values()))[0].suffix.lower()]
            return _Splits(path, list(files), partial(_loaded, form, files, streaming))
        if place.exists():
            raise DataError(f"{path} holds no data set, and no files that end in {', '.join(_FORMS)}")
        if path.startswith((".", "/", "~")) or place.suffix.lower() in _FORMS:
            raise DataError(f"there is no {path}")
        fetched = datasets.load_dataset(path, config, streaming=streaming)
        return _Splits(path, list(fetched), partial(getitem, fetched))


def _loaded(form: str, files: Mapping[str, Sequence[Path]], streaming: bool, split: str) -> Any:
    """Files of one split. The others need not have their columns."""
    import datasets

    names = {split: [str(file) for file in files[split]]}
    return datasets.load_dataset(form, data_files=names, split=split, streaming=streaming)


@contextmanager
def _told(path: str) -> Iterator[None]:
    """What goes wrong, in one line."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # of many kinds, by file format and transport
        raise DataError(f"{path} cannot be read: {_line(error.__cause__ or error)[:300]}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _files(place: Path, config: str | None) -> dict[str, list[Path]]:
    """Files of one form by split: the one that is named, or those of a folder, as ``datasets`` has it.

    Raises:
        DataError: they are of several forms, or what they are named for is no split that can be told.
    """
    if place.is_file():
        if place.suffix.lower() not in _FORMS:
            raise DataError(f"{place} does not end in {', '.join(_FORMS)}")
        return {"train": [place]}
    if not place.is_dir():
        return {}
    place = place.resolve()
    inside = [file for file in sorted(place.iterdir()) if file.is_file() and _is_data(file)]
    found = _divided(place, config)
    every = list(dict.fromkeys([*inside, *(file for files in found.values() for file in files)]))
    forms = {_FORMS[file.suffix.lower()] for file in every}
    if len(forms) > 1:
        raise DataError(f"{place} holds files of several forms ({', '.join(sorted(forms))}); name one file")
    if not found and len(inside) > 1:
        raise DataError(
            f"{place}: no split can be told of its files; name them in small letters, as train-000.parquet "
            "and test-000.parquet, and keep no others beside them"
        )
    left = [file for file in inside if found and not any(file in files for files in found.values())]
    if left:
        warnings.warn(
            f"{place}: {left[0].name} is named for no split, as others are, and is not read", stacklevel=2
        )
    return found or ({"train": inside} if inside else {})


def _divided(place: Path, config: str | None) -> dict[str, list[Path]]:
    """Files of a folder by the split that ``datasets`` takes them for."""
    import datasets

    try:
        told = datasets.load_dataset_builder(str(place), config).config.data_files or {}
    except FileNotFoundError:  # what it knows by no ending
        return {}
    files = {str(split): [Path(one) for one in found] for split, found in told.items()}
    own = {split: [one for one in found if _is_data(one)] for split, found in files.items()}
    return {split: found for split, found in own.items() if found}


def _is_data(file: Path) -> bool:
    return file.suffix.lower() in _FORMS and not is_hidden(file.name)


def _require() -> None:
    if find_spec("datasets") is None:
        raise MissingDependencyError(
            "the package 'datasets' is not installed; pip install 'flowloom-warehouse[hub]'"
        )
