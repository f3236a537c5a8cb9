"""Rows of data looked at before training, so that what cannot be learned is told by its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowloom.conditioning import class_ids
from flowloom.data.base import Dataset, Examples
from flowloom.errors import DataError, OffManifoldError, ShapeError
from flowloom.geometry import Euclidean
from flowloom.layout import Layout
from flowloom.spec import Spec
from flowloom.state import leaves, map_state, shape_of

if TYPE_CHECKING:
    from flowloom.flow import Flow

_ROWS = 2**17
_ROWS_OF_FILES = 1024
_AT_ONCE = 1024


@torch.no_grad()
def require_rows(data: Dataset, flow: Flow) -> None:
    """Ask for finite states on the flow's geometry and class ids in range, a thousand rows at a time.

    What stands in padding is not looked at.

    Raises:
        OffManifoldError: a row is not on the geometry; names the row of the data set.
        DataError: a row is not finite, or a class id is out of range; names the row.
    """
    most = _ROWS_OF_FILES if getattr(data, "reads_files", False) else _ROWS
    on_geometry = type(flow.geometry) is not Euclidean
    device = flow.device
    for rows in data.evenly(most).split(_AT_ONCE):
        examples = data.take(rows)
        require_form(data.spec, examples)
        _require_classes(data.spec, examples, rows)
        _require_finite(data.spec, examples, rows)
        if not on_geometry:
            continue
        if flow.codec is None:
            # Widened numbers would only be told to lie off the space by what rounding took from them.
            flow.geometry.require_precision(examples.x, "data")
        try:
            states = flow.encode(examples.to(device))
            layout = Layout.of(flow.spec, states.cond)
            flow.geometry.admit(states.x if layout is None else layout.fill(states.x), "data")
        except OffManifoldError as error:
            raise OffManifoldError(error.name, int(rows[error.row]), error.fault) from None


def require_form(spec: Spec, examples: Examples) -> None:
    """Ask for what the spec promises, before a network trips over it.

    Raises:
        DataError: a shape, a kind of number or a condition is another; says which.
    """
    told, found = spec.event_shape(), shape_of(map_state(lambda leaf: leaf[0], examples.x))
    if told != found:
        raise DataError(f"data: examples have the shape {found}, and the spec of the data says {told}")
    for (name, leaf), (_, part) in zip(leaves(examples.x), spec.leaves(), strict=True):
        if leaf.is_floating_point() != (part.vocab is None):
            of = f" of part '{name}'" if name else ""
            says = "real values" if part.vocab is None else "token ids"
            raise DataError(f"data: states{of} are {leaf.dtype}, and the spec of the data says {says}")
    for name, condition in spec.conditions.items():
        value = examples.cond.get(name)
        if value is None:
            raise DataError(f"data: the spec says that there is a condition '{name}', and there is none")
        if tuple(value.shape[1:]) != tuple(condition.shape):
            raise DataError(
                f"data: condition '{name}' has the shape {tuple(value.shape[1:])}, and the spec of the data "
                f"says {tuple(condition.shape)}"
            )


def _require_finite(spec: Spec, examples: Examples, rows: Tensor) -> None:
    layout = Layout.of(spec, examples.cond)
    for name, leaf in leaves(examples.x if layout is None else layout.zero(examples.x)):
        if not leaf.is_floating_point() or bool(leaf.sum().isfinite()):
            continue
        finite = leaf.reshape(len(leaf), -1).isfinite().all(1)
        if not bool(finite.all()):
            row = int(rows[int(finite.to(torch.uint8).argmin())])
            where = f"row {row}, part '{name}'," if name else f"row {row}"
            raise DataError(f"data: {where} is not finite (NaN or infinite); mend it, or leave it out")


def _require_classes(spec: Spec, examples: Examples, rows: Tensor) -> None:
    for name, condition in spec.conditions.items():
        if condition.classes is None or name not in examples.cond:
            continue
        values = examples.cond[name]
        try:
            class_ids(name, condition.classes, values)
        except ShapeError:
            for row, value in zip(rows.tolist(), values, strict=True):
                try:
                    class_ids(name, condition.classes, value)
                except ShapeError as error:
                    raise DataError(f"data: row {row}: {error}") from error
