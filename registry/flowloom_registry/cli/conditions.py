"""Conditions on the command line: ``--cond NAME=VALUE``, from a file, or those of a held-out row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowloom.digits import are_digits

if TYPE_CHECKING:
    from torch import Tensor

    from flowloom.spec import Condition
    from flowloom_registry.runs.assembly import Assembly

HELP = (
    "a condition, one for each --cond: label=3, label=cat, position=0.5,1, past=@past.npy (or .npz, .csv); "
    "row=17 takes all those of a held-out row; what is not given comes from held-out rows"
)
"""What ``--help`` says of ``--cond``."""
ROW, MASK = "row", "mask"


def conditions(words: Iterable[str], assembly: Assembly, n: int) -> dict[str, Tensor]:
    """Conditions for ``n`` examples from words ``NAME=VALUE``; see `Given`."""
    import torch

    return Given.read(words, assembly, n).take(torch.arange(n))


@dataclass(frozen=True)
class Given:
    """Conditions of ``n`` examples, one row for all of them or a row each.

    Args:
        values: by name.
        assembly: of the run.
    """

    values: Mapping[str, Tensor]
    assembly: Assembly

    @classmethod
    def read(cls, words: Iterable[str], assembly: Assembly, n: int) -> Given:
        """From words ``NAME=VALUE``.

        A value is a class (by number or name) or numbers joined by commas, of one example (then of all) or
        of all ``n`` in order; ``@file`` reads them from ``.npy``, ``.npz`` (the array of the condition's
        name, or the only one) or ``.csv``. ``row=17`` takes every condition of that held-out row, which
        others then replace.

        Raises:
            FlowloomError: a word, file, class, row or number of values that does not fit; says what does.
        """
        from flowloom_registry.cli.given import named

        texts = named("--cond", words, ", such as label=3")
        known = _known(assembly)
        given: dict[str, Tensor] = {}
        if ROW in texts and ROW not in known:
            given = _of_row(texts.pop(ROW), assembly)
        for name, text in texts.items():
            if name not in known:
                assembly.flow.conditions(n, {name: text})  # which says what there is
                continue
            place = f"--cond {name}={text}"
            values = (
                _from_file(Path(text[1:]), name, place) if text.startswith("@") else _from_text(text, place)
            )
            rows = _tensor(values, known[name], n, place)
            given[name] = rows.bool() if name == MASK else rows
        return cls(given, assembly)

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        """Those of some of the examples.

        Raises:
            ShapeError: a class or shape that the flow does not know.
        """
        few = {
            name: value.expand(len(rows), *value.shape[1:]).clone() if len(value) == 1 else value[rows]
            for name, value in self.values.items()
        }
        return self.assembly.flow.conditions(len(rows), few)


def _known(assembly: Assembly) -> dict[str, Condition]:
    """The conditions of the flow, and the mask of ragged data, which is a flag for every entry."""
    from flowloom.spec import Condition

    known = assembly.flow.known_conditions()
    if assembly.spec.ragged and MASK not in known and MASK in assembly.asked_for():
        known[MASK] = Condition(shape=tuple(assembly.lengths(1)[MASK].shape[1:]))
    return known


def _of_row(text: str, assembly: Assembly) -> dict[str, Tensor]:
    import torch

    from flowloom.errors import FlowloomError

    held_out = assembly.held_out()
    data = held_out or assembly.require_data("--cond row=N takes a row of the data")
    what = "training" if held_out is None else "held-out"
    if not are_digits(text) or int(text) >= len(data):
        raise FlowloomError(f"--cond row={text}: expected one of the {what} rows, 0 to {len(data) - 1}")
    return dict(data.take(torch.tensor([int(text)])).cond)


def _from_text(text: str, place: str) -> list[Any]:
    """Numbers and words: ``1,2``, ``cat,dog`` or ``[[1, 2], [3, 4]]``, in one flat list."""
    from flowloom_registry.cli.given import value

    if not text.startswith("["):
        return [_number(item.strip()) for item in text.split(",")]
    return _flat(value(text, place))


def _flat(values: Any) -> list[Any]:
    return [item for one in values for item in _flat(one)] if isinstance(values, list) else [values]


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _from_file(file: Path, name: str, place: str) -> list[Any]:
    from flowloom.data.arrays import read_numpy
    from flowloom.errors import DataError, FlowloomError

    try:
        if file.suffix == ".csv":
            array = _csv(file)
        elif file.suffix in (".npy", ".npz"):
            arrays = read_numpy(file)
            if file.suffix == ".npz" and name not in arrays and len(arrays) != 1:
                there = ", ".join(arrays) or "none"
                raise FlowloomError(f"{place}: the file has no array {name!r}; it has: {there}")
            array = arrays[name] if name in arrays else next(iter(arrays.values()))
        else:
            raise FlowloomError(f"{place}: a file of conditions ends in .npy, .npz or .csv")
    except FileNotFoundError:
        raise FlowloomError(f"{place}: there is no file {str(file)!r}") from None
    except (OSError, ValueError, DataError) as error:
        line = " ".join(str(error).split())
        raise FlowloomError(f"{place}: the file cannot be read as numbers: {line}") from error
    if array.dtype.kind not in "fiubU":
        raise FlowloomError(f"{place}: the file holds {array.dtype}; save numbers")
    return list(array.reshape(-1).tolist())


def _csv(file: Path) -> Any:
    """Numbers of a table, whose first line may name the columns."""
    import numpy as np

    try:
        return np.loadtxt(file, delimiter=",", ndmin=2)
    except ValueError:
        return np.loadtxt(file, delimiter=",", ndmin=2, skiprows=1)


def _tensor(values: list[Any], condition: Condition, n: int, place: str) -> Tensor:
    """Values of one example, or of ``n``, as a tensor of as many rows."""
    import math

    import torch

    from flowloom.errors import FlowloomError

    size = math.prod(condition.shape)
    if condition.classes is not None:
        values = [_class(item, condition, place) for item in values]
    else:
        words = [item for item in values if isinstance(item, str)]
        if words:
            raise FlowloomError(f"{place}: expected numbers, got {words[0]!r}")
    if len(values) not in (1, size, n * size):
        shape = f" (shape {condition.shape})" if condition.shape else ""
        one = "1 value" if size == 1 else f"{size} values{shape}"
        raise FlowloomError(
            f"{place}: expected {one} for an example, or {n} times as many; got {len(values)}"
        )
    try:
        tensor = torch.tensor(values)
    except (ValueError, RuntimeError, OverflowError):
        raise FlowloomError(f"{place}: a number is beyond the range of 64 bits") from None
    if len(values) == n * size:
        rows = tensor.reshape(n, *condition.shape)
    elif len(values) == size:
        rows = tensor.reshape(1, *condition.shape)
    else:
        rows = tensor.expand(1, *condition.shape)
    return rows.clone() if condition.classes is not None else rows.float()


def _class(item: Any, condition: Condition, place: str) -> int:
    from flowloom.errors import FlowloomError
    from flowloom_registry.nearest import did_you_mean, join_hints, listing

    if str(item) in condition.names:
        return condition.names.index(str(item))
    if isinstance(item, bool) or not isinstance(item, (int, float)) or item % 1 != 0:
        names = listing(condition.names) or "none, so give its number"
        hint = join_hints(did_you_mean(str(item), condition.names), f"names: {names}")
        raise FlowloomError(f"{place}: there is no class {str(item)!r}; {hint}")
    return int(item)
