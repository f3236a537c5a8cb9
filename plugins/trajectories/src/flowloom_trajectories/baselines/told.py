"""The context that a rule goes on from."""

from __future__ import annotations

from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError

__all__ = ["context_of"]


def context_of(asked: Examples, name: str, who: str, least: int) -> tuple[Tensor, Tensor]:
    """The steps told before the state, ``(n, steps, d)``, and the state's own tensor, for its shape.

    Raises:
        IncompatibleError: there is no such condition, or it does not end where states begin.
    """
    told, x = asked.cond.get(name), asked.x
    if not isinstance(x, Tensor) or x.ndim != 3:
        raise IncompatibleError(f"{who} goes on with states (steps, channels)")
    if told is None or told.ndim != 3 or told.shape[-1] != x.shape[-1] or told.shape[1] < least:
        raise IncompatibleError(
            f"{who} goes on from a condition '{name}' of at least {least} steps of {x.shape[-1]} channels; "
            f"there is {', '.join(asked.cond) or 'none'}"
        )
    return told, x
