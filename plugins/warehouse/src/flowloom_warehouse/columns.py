"""Columns of a table as states and conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec
from flowloom.state import State

__all__ = ["At", "Classes", "Columns", "Table"]

Table = Mapping[str, Sequence[Any]]
"""Some rows: the values of every column."""
At = Callable[[int], str]
"""What messages call a row, by its number."""
Classes = Mapping[str, "int | list[str] | None"]
"""Of a condition: how many classes, or their names; None for numbers that are no classes."""


@dataclass(frozen=True)
class Columns:
    """Which columns are states and which conditions.

    Pictures (8 bits, height x width, with or without colours last) become reals in [-1, 1], colours first;
    other numbers stay as they are.

    Args:
        states: the column of the states, or one for every part of a product.
        conditions: column by name of a condition.
        vocab: tokens there are, where a state is whole numbers; one number, or one for every part.
        classes: of conditions that are whole numbers or words.
        shapes: event shape by column, for rows that are stored flat.
    """

    states: str | Mapping[str, str]
    conditions: Mapping[str, str] = field(default_factory=dict)
    vocab: int | Mapping[str, int] | None = None
    classes: Classes = field(default_factory=dict)
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strangers = sorted(set(self.classes) - set(self.conditions))
        if strangers:
            have = ", ".join(self.conditions) or "none"
            raise DataError(f"classes are of conditions, and {strangers[0]!r} is none; there are: {have}")

    def names(self) -> list[str]:
        """Columns that are read."""
        states = [self.states] if isinstance(self.states, str) else list(self.states.values())
        return list(dict.fromkeys([*states, *self.conditions.values()]))

    def require(self, have: Sequence[str], place: str) -> None:
        """Ask that all of them are there.

        Raises:
            DataError: one is not; says which there are.
        """
        for name in self.names():
            if name not in have:
                raise DataError(f"{place} has no column {name!r}; it has: {', '.join(have) or 'none'}")

    def spec(self, table: Table, at: At) -> Spec:
        """From the first row, and what is said of tokens and classes.

        Raises:
            DataError: whole numbers of which nothing is said, or values that are no numbers.
        """
        conditions = {n: self._condition(n, column, table, at) for n, column in self.conditions.items()}
        if isinstance(self.states, str):
            whole = self.vocab if isinstance(self.vocab, int) else None
            one = self._state(self.states, whole, table, at)
            return Spec(one.shape, one.vocab, conditions=conditions, limits=one.limits)
        parts = {
            part: self._state(
                column, self.vocab.get(part) if isinstance(self.vocab, Mapping) else self.vocab, table, at
            )
            for part, column in self.states.items()
        }
        return Spec(parts=parts, conditions=conditions)

    def examples(self, table: Table, spec: Spec, at: At, rows: Sequence[int]) -> Examples:
        """Rows as `spec` has them.

        Raises:
            DataError: a value of another type, shape or range; names the row and the column.
        """

        def leaf(column: str, of: Spec) -> Tensor:
            values = self._tensor(column, table, at, rows, of.shape)
            if of.vocab is None:
                return _finite(values.float(), column, at, rows)
            return _ids(values, of.vocab, column, at, rows)

        x: State = (
            leaf(self.states, spec)
            if isinstance(self.states, str)
            else {part: leaf(column, spec.parts[part]) for part, column in self.states.items()}
        )
        cond: dict[str, Tensor] = {}
        for name, column in self.conditions.items():
            known = spec.conditions[name]
            values = self._tensor(column, table, at, rows, known.shape, known.names)
            cond[name] = (
                _finite(values.float(), column, at, rows)
                if known.classes is None
                else _ids(values, known.classes, column, at, rows)
            )
        return Examples(x, cond)

    def _state(self, column: str, vocab: int | None, table: Table, at: At) -> Spec:
        picture = _is_picture(table[column][0])
        values = self._tensor(column, table, at, [0])
        if values.is_floating_point() or picture:
            return Spec(tuple(values.shape[1:]), limits=(-1.0, 1.0) if picture else None)
        if vocab is None:
            raise DataError(
                f"{at(0)}: column {column!r} holds whole numbers, which are tokens as states; say how "
                "many there are (vocab: 256), or store reals"
            )
        return Spec(tuple(values.shape[1:]), vocab)

    def _condition(self, name: str, column: str, table: Table, at: At) -> Condition:
        said = self.classes.get(name)
        names = tuple(str(one) for one in said) if isinstance(said, Sequence) else ()
        values = self._tensor(column, table, at, [0], names=names)
        shape = tuple(values.shape[1:])
        if names:
            return Condition(len(names), shape, names)
        if isinstance(said, int):
            return Condition(said, shape)
        if not values.is_floating_point() and name not in self.classes:
            raise DataError(
                f"{at(0)}: column {column!r} holds whole numbers; say how many classes there are (classes: "
                f"{{{name}: 10}}), or that they are numbers (classes: {{{name}: null}})"
            )
        return Condition(None, shape)

    def _tensor(
        self,
        column: str,
        table: Table,
        at: At,
        rows: Sequence[int],
        shape: tuple[int, ...] | None = None,
        names: Sequence[str] = (),
    ) -> Tensor:
        """One column as a tensor; of ``shape`` a row, where that is known."""
        values = []
        for row, value in zip(rows, table[column], strict=True):
            try:
                one = self._shaped(_array(value, names), column)
            except (TypeError, ValueError) as error:
                raise DataError(f"{at(row)}: column {column!r} {error}") from error
            shape = one.shape if shape is None else shape
            if one.shape != shape:
                raise DataError(
                    f"{at(row)}: column {column!r} has shape {one.shape}, and the first row {shape}; rows "
                    "may not differ in shape, so pad or cut them to one"
                )
            values.append(one)
        return torch.from_numpy(np.stack(values))

    def _shaped(self, value: np.ndarray[Any, Any], column: str) -> np.ndarray[Any, Any]:
        if column not in self.shapes:
            return value
        shape = tuple(self.shapes[column])
        if value.size != int(np.prod(shape)):
            raise ValueError(f"has {value.size} entries a row, not {shape}")
        return value.reshape(shape)


def _is_picture(value: Any) -> bool:
    if hasattr(value, "getbands"):
        return True
    return isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim in (2, 3)


def _array(value: Any, names: Sequence[str]) -> np.ndarray[Any, Any]:
    """One value: pictures in [-1, 1], words as the number of their class, numbers as they are."""
    if _is_picture(value):
        pixels = np.asarray(value)
        if pixels.dtype != np.uint8:
            raise ValueError(f"holds a picture of {pixels.dtype}, expected 8 bits")
        pixels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
        return pixels.astype(np.float32) / 127.5 - 1
    if isinstance(value, str):
        if value not in names:
            given = ", ".join(names) or "none: name them as classes: {NAME: [a, b]}"
            raise ValueError(f"holds the word {value[:40]!r}; words that are classes: {given}")
        return np.asarray(list(names).index(value))
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind not in "fiub":
        what = "nothing" if value is None else type(value).__name__
        raise TypeError(f"holds {what} ({array.dtype}), expected numbers of one shape")
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array.astype(np.int64)


def _finite(values: Tensor, column: str, at: At, rows: Sequence[int]) -> Tensor:
    row = _first(~values.isfinite(), rows)
    if row is not None:
        raise DataError(f"{at(row)}: column {column!r} is not finite, or holds nothing")
    return values


def _ids(values: Tensor, count: int, column: str, at: At, rows: Sequence[int]) -> Tensor:
    if values.is_floating_point():
        # Whole numbers of which one is missing come as reals, with NaN in its place.
        row = _first(values.isnan(), rows)
        what = "holds reals" if row is None else "holds nothing"
        row = rows[0] if row is None else row
        raise DataError(f"{at(row)}: column {column!r} {what}, expected whole numbers from 0 to {count - 1}")
    bad = (values < 0) | (values >= count)
    row = _first(bad, rows)
    if row is not None:
        raise DataError(
            f"{at(row)}: column {column!r} holds {int(values[bad][0])}, expected 0 to {count - 1}"
        )
    return values.long()


def _first(bad: Tensor, rows: Sequence[int]) -> int | None:
    """The number of the first row with a bad entry."""
    found = bad.reshape(len(bad), -1).any(1).nonzero()
    return rows[int(found[0])] if len(found) else None
