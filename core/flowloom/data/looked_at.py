"""Rows of data looked at before training, so that what cannot be learned is told by its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from flowloom.conditioning import class_ids
from flowloom.data.base import Dataset, Examples
from flowloom.errors import DataError, OffManifoldError, ShapeError
from flowloom.geometry import Euclidean
from flowloom.layout import Layout
from flowloom.spec import Spec

if TYPE_CHECKING:
    from flowloom.flow import Flow

_ROWS = 2**17
_ROWS_OF_FILES = 1024
_AT_ONCE = 1024


@torch.no_grad()
def require_rows(data: Dataset, flow: Flow) -> None:
    """Ask for states on the flow's geometry and class ids in range, a thousand rows at a time.

    Raises:
        OffManifoldError: a row is not on the geometry; names the row of the data set.
        DataError: a class id is out of range.
    """
    count = min(len(data), _ROWS_OF_FILES if getattr(data, "reads_files", False) else _ROWS)
    on_geometry = type(flow.geometry) is not Euclidean
    if not on_geometry and not any(c.classes for c in data.spec.conditions.values()):
        return
    device = flow.device
    for rows in (torch.arange(count) * len(data) // max(count, 1)).split(_AT_ONCE):
        examples = data.take(rows)
        _require_classes(data.spec, examples)
        if not on_geometry:
            continue
        try:
            states = flow.encode(examples.to(device))
            layout = Layout.of(flow.spec, states.cond)
            flow.geometry.admit(states.x if layout is None else layout.fill(states.x), "data")
        except OffManifoldError as error:
            raise OffManifoldError(error.name, int(rows[error.row]), error.fault) from None


def _require_classes(spec: Spec, examples: Examples) -> None:
    for name, condition in spec.conditions.items():
        if condition.classes is not None and name in examples.cond:
            try:
                class_ids(name, condition.classes, examples.cond[name])
            except ShapeError as error:
                raise DataError(f"data: {error}") from error
