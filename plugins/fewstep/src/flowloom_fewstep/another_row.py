"""Noise that is another row's: fresh to its own row, and of the same law."""

from __future__ import annotations

from torch import Tensor

from flowloom.draw import Draw
from flowloom.errors import IncompatibleError

__all__ = ["another_row"]


def another_row(n: int, draw: Draw, method: str) -> Tensor:
    """For each of ``n`` rows the number of another one, every row taken once: int64 ``(n,)``.

    A random order followed by a shift within it: one without would leave a row its own about once a batch.

    Args:
        n: number of rows.
        draw: where the numbers come from.
        method: who asks, for the message.

    Raises:
        IncompatibleError: there is no other row.
    """
    if n < 2:
        raise IncompatibleError(f"{method} takes noise of another row; set train.batch to 2 or more")
    order = draw.permutation(n)
    return order.roll(1)[order.argsort()]
