"""What a slow judge says of a sound, asked once."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Generic, TypeVar

from torch import Tensor

__all__ = ["Once"]

Said = TypeVar("Said")


class Once(Generic[Said]):
    """A function of a sound that remembers: real sounds are in every column, a rehearsal's in every row.

    Args:
        judge: of a sound ``(samples,)``, and whatever else it is told; the same for the same.
    """

    def __init__(self, judge: Callable[..., Said]) -> None:
        self._judge = judge
        self._said: dict[tuple[Any, ...], Said] = {}

    def __call__(self, sound: Tensor, *told: Any) -> Said:
        """As the judge says, or said."""
        key = (sha256(sound.contiguous().numpy().tobytes()).digest(), *told)
        if key not in self._said:
            self._said[key] = self._judge(sound, *told)
        return self._said[key]
