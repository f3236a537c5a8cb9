"""Arrays of one's own as a data set, from a file that numpy, torch or a spreadsheet wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from flowloom.data.arrays import Array, read_arrays
from flowloom.data.base import Dataset, Examples, Tensors
from flowloom.errors import DataError
from flowloom.spec import Spec
from flowloom.state import State, leaves

_PART = "x."


class TensorFile(Dataset):
    """Named arrays of a file (npz, npy, safetensors, csv), the first dimension of each counting the examples.

    Real numbers become float32; whole numbers are tokens as states, class ids as conditions of shape
    ``(n,)``. In a CSV (commas, tabs or semicolons) states are numbers however they are written, and a column
    of words is a class each.

    Args:
        file: to read, on first use.
        states: name of the array that holds the states; of one array for every part of a product
            (``{pos: xyz, types: z}``); or, of a CSV, the columns. Where left out: array ``x``, or arrays
            ``x.PART``, or all columns that are no condition.
        conditions: name of every condition -> name of its array or column.
        test: file with the test split, in the same form.
        held_out: share held out as split ``test`` where there is no such file.
        val: share of the rest held out as split ``val``.
        seed: of what is held out.

    Raises:
        DataError: on first use, where the file is missing or damaged, or its arrays are not as asked.
    """

    def __init__(
        self,
        file: Path,
        states: str | list[str] | Mapping[str, str] | None = None,
        conditions: Mapping[str, str] | None = None,
        test: Path | None = None,
        held_out: float = 0.1,
        val: float = 0.0,
        seed: int = 0,
    ) -> None:
        for name, share in (("held_out", held_out), ("val", val)):
            if not 0 <= share < 1:
                raise DataError(f"{name} is a share from 0 to below 1, got {share}")
        if isinstance(states, (list, Mapping)) and not states:
            raise DataError("states names no array; leave it out, or name one at least")
        if isinstance(states, list) and len(set(states)) < len(states):
            raise DataError(f"states names a column twice: {', '.join(states)}")
        for name in conditions or {}:
            if not name or "=" in name:
                raise DataError(
                    f"a condition is given as NAME=VALUE, so no name is empty or has a '='; got {name!r}"
                )
        self.file, self.test_file = Path(file), None if test is None else Path(test)
        self.states, self.conditions = states, dict(conditions or {})
        self.held_out, self.val, self.seed = held_out, val, seed
        self._splits: dict[str, Tensors] | None = None

    @property
    def spec(self) -> Spec:
        """Shape, kind and conditions of the examples."""
        return self._read()["train"].spec

    def __len__(self) -> int:
        return len(self._read()["train"])

    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows``."""
        return self._read()["train"].take(rows)

    def split(self, name: str) -> Dataset:
        """``train`` (itself), or ``val`` and ``test`` where something is held out."""
        if name == "train":
            return self
        splits = self._read()
        if name not in splits:
            raise DataError(f"{self.file} has no split '{name}'; it has: {', '.join(splits)}")
        return splits[name]

    def _read(self) -> dict[str, Tensors]:
        if self._splits is None:
            whole, names = self._examples(self.file)
            data = Tensors(whole.x, whole.cond)
            known = {
                key: replace(condition, names=names.get(key, ()))
                for key, condition in data.spec.conditions.items()
            }
            spec = replace(data.spec, conditions=known)
            order = torch.randperm(len(data), generator=torch.Generator().manual_seed(self.seed))
            splits: dict[str, Examples] = {}
            if self.test_file is not None:
                splits["test"], _others = self._examples(self.test_file, names)
                _require_same(self.test_file, splits["test"], spec)
                order = torch.arange(len(data))
            else:
                order = _hold_out(splits, "test", self.held_out, order, whole)
            order = _hold_out(splits, "val", self.val, order, whole)
            if len(order) == 0:
                raise DataError(f"{self.file}: nothing is left to train on; hold out less than all rows")
            splits = {"train": whole.take(order.sort().values), **splits}
            self._splits = {name: Tensors(one.x, one.cond, spec=spec) for name, one in splits.items()}
        return self._splits

    def _examples(
        self, file: Path, names: Mapping[str, tuple[str, ...]] | None = None
    ) -> tuple[Examples, dict[str, tuple[str, ...]]]:
        """Examples of a file, and the words of conditions that are words (of ``names``, where given)."""
        arrays = read_arrays(file)
        cond: dict[str, Tensor] = {}
        words: dict[str, tuple[str, ...]] = {}
        for name, source in self.conditions.items():
            array = _pick(arrays, source, file, f"condition '{name}'")
            _require_classes(array, file, name)
            if names is not None and array.names:
                array = _in_order_of(array, names.get(name, ()), file, name)
            cond[name] = array.values
            if array.names:
                words[name] = array.names
        x = self._states(arrays, file)
        for part, leaf in leaves(x):
            if not leaf.is_floating_point() and leaf.numel() and int(leaf.min()) < 0:
                of = f" of part '{part}'" if part else ""
                raise DataError(
                    f"{file}: states{of} hold {int(leaf.min())}; whole numbers are tokens, from 0, so save "
                    "others as real numbers"
                )
        counts = {name: len(leaf) for name, leaf in leaves(x)} | {name: len(v) for name, v in cond.items()}
        if len(set(counts.values())) > 1:
            raise DataError(f"{file}: arrays differ in their number of examples: {counts}")
        return Examples(x, cond), words

    def _states(self, arrays: Mapping[str, Array], file: Path) -> State:
        table = file.suffix.lower() == ".csv"
        chosen = self._found(arrays, file, table) if self.states is None else self.states
        if isinstance(chosen, Mapping):
            return {part: _pick(arrays, name, file, f"part '{part}'").values for part, name in chosen.items()}
        if isinstance(chosen, str) and not table:
            return _pick(arrays, chosen, file, "the states").values
        columns = [chosen] if isinstance(chosen, str) else list(chosen)
        picked = [_pick(arrays, name, file, "the states") for name in columns]
        for name, array in zip(columns, picked, strict=True):
            if array.names or array.values.ndim != 1:
                raise DataError(f"{file}: {name!r} is no column of numbers, which a list of states asks for")
        return torch.stack([array.values.float() for array in picked], 1)

    def _found(
        self, arrays: Mapping[str, Array], file: Path, table: bool
    ) -> str | list[str] | dict[str, str]:
        if table:
            columns = [name for name in arrays if name not in self.conditions.values()]
            if not columns:
                raise DataError(f"{file}: every column is a condition; none is left for the states")
            return columns
        if "x" in arrays:
            return "x"
        parts = {name.removeprefix(_PART): name for name in arrays if name.startswith(_PART)}
        if parts:
            return parts
        raise DataError(
            f"{file} has no array 'x'; say which holds the states (states: NAME): {', '.join(arrays)}"
        )


def _pick(arrays: Mapping[str, Array], name: str, file: Path, what: str) -> Array:
    if name not in arrays:
        raise DataError(f"{file} has no {name!r}, which {what} asks for; it has: {', '.join(arrays)}")
    return arrays[name]


def _require_classes(array: Array, file: Path, condition: str) -> None:
    """Raise at the first row that says no class where others do."""
    if array.values.is_floating_point() or array.values.dtype == torch.bool:
        return
    # The empty word comes first of all.
    empty = array.names[:1] == ("",)
    strange = array.values == 0 if empty else array.values < 0
    if bool(strange.any()):
        row = int(strange.reshape(len(strange), -1).any(1).long().argmax())
        said = "is empty" if empty else f"is {int(array.values[row].min())}, and classes count from 0"
        raise DataError(f"{array.place(file, row)}: condition '{condition}' {said}")


def _in_order_of(array: Array, names: tuple[str, ...], file: Path, condition: str) -> Array:
    """The same words by their places among the words that the training file has."""
    strangers = [word for word in array.names if word not in names]
    if strangers:
        raise DataError(f"{file}: {condition} {strangers[0]!r} is not among those of the training file")
    places = torch.tensor([names.index(word) for word in array.names])
    return Array(places[array.values], names)


def _hold_out(splits: dict[str, Examples], name: str, share: float, order: Tensor, whole: Examples) -> Tensor:
    """Rows left when a share of ``order``, at least one row if any, became split ``name``."""
    count = max(1, round(share * len(order))) if share else 0
    if count:
        splits[name] = whole.take(order[:count].sort().values)
    return order[count:]


def _require_same(file: Path, test: Examples, spec: Spec) -> None:
    """Raise where a test file has other shapes, or ids that the training file has not."""
    other = Tensors(test.x, test.cond).spec
    if _shapes(other) != _shapes(spec):
        raise DataError(
            f"{file} has states of shape {other.event_shape()}, the training file {spec.event_shape()}"
        )
    for name, (size, most) in _sizes(other, spec).items():
        if size > most:
            raise DataError(f"{file}: {name} has the id {size - 1}, the training file none above {most - 1}")


def _shapes(spec: Spec) -> object:
    if spec.parts:
        return {name: _shapes(part) for name, part in spec.parts.items()}
    return spec.shape, spec.vocab is None


def _sizes(other: Spec, spec: Spec, name: str = "states") -> dict[str, tuple[int, int]]:
    """Number of ids in a file and in the training file, of tokens and of classes."""
    found = {key: (c.classes or 0, spec.conditions[key].classes or 0) for key, c in other.conditions.items()}
    if other.parts:
        for key, part in other.parts.items():
            found |= _sizes(part, spec.parts[key], f"part {key}")
    elif other.vocab is not None and spec.vocab is not None:
        found[name] = (other.vocab, spec.vocab)
    return found
