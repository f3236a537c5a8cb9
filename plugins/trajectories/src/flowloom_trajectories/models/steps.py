"""What networks of states ``(steps, channels)`` have in common: their shape, and what is marked of it."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.spec import Spec
from flowloom.state import State

__all__ = ["Steps", "one_time"]


class Steps:
    """States of ``(steps, channels)`` real numbers, and the marks that are read beside them.

    Args:
        spec: of the states.
        who: the network, for the message.

    Raises:
        IncompatibleError: states are something else.
    """

    def __init__(self, spec: Spec, who: str) -> None:
        if spec.parts or spec.vocab is not None or len(spec.shape) != 2:
            what = (
                "a product" if spec.parts else f"{'tokens' if spec.vocab else 'numbers'} {tuple(spec.shape)}"
            )
            raise IncompatibleError(f"{who} reads real states (steps, channels); these are {what}")
        self.spec = spec
        self.steps, self.channels = spec.shape
        self.marks = [bool(spec.named("real")), bool(spec.named("given"))]

    @property
    def width(self) -> int:
        """Channels of what `read` returns."""
        return self.channels * (1 + sum(self.marks))

    def read(self, x: State, layout: Layout | None) -> Tensor:
        """States with padding at 0, and marks of what is real and given: ``(batch, steps, width)``."""
        if not isinstance(x, Tensor) or x.ndim != 3:
            raise IncompatibleError("this network reads states (batch, steps, channels)")
        layout = layout or Layout()
        columns = [layout.zero(x)]
        for wanted, mark, absent in zip(self.marks, (layout.real, layout.given), (1.0, 0.0), strict=True):
            if wanted:
                columns.append(_wide(mark, x, absent))
        return torch.cat(columns, -1)


def _wide(mark: Tensor | None, x: Tensor, absent: float) -> Tensor:
    if mark is None:
        return torch.full_like(x, absent)
    return mark.reshape(mark.shape + (1,) * (x.ndim - mark.ndim)).expand_as(x).to(x.dtype)


def one_time(t: Tensor) -> Tensor:
    """One time a row: that of a row, or the mean of those of its entries: ``(batch,)``."""
    return t if t.ndim == 1 else t.flatten(1).mean(1)
