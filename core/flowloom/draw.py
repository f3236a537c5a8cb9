"""Where random numbers come from, and what they become: one object instead of three arguments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from flowloom.state import State, first_leaf, float_dtype

__all__ = ["GLOBAL", "Draw"]


@dataclass(frozen=True)
class Draw:
    """A generator, and the place and precision of what is drawn with it.

    Shapes are tuples of sizes. Numbers are drawn where the generator is, and moved: the same seed gives the
    same numbers everywhere.

    Args:
        generator: torch's global one where None.
        device: of the result; the generator's where None.
        dtype: of real-valued results; torch's default where None.

    >>> Draw(torch.Generator().manual_seed(0), dtype=torch.float64).normal((2,)).dtype
    torch.float64
    """

    generator: torch.Generator | None = None
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None

    @classmethod
    def like(cls, state: State, generator: torch.Generator | None = None) -> Draw:
        """Draws in the place and precision of a state."""
        return cls(generator, first_leaf(state).device, float_dtype(state))

    def normal(self, shape: Any) -> Tensor:
        """Standard normal entries."""
        return self._placed(
            torch.randn(shape, generator=self.generator, device=self._where, dtype=self.dtype)
        )

    def uniform(self, shape: Any) -> Tensor:
        """Uniform entries in [0, 1)."""
        return self._placed(torch.rand(shape, generator=self.generator, device=self._where, dtype=self.dtype))

    def integers(self, high: int, shape: Any) -> Tensor:
        """Uniform integers in [0, high), int64."""
        return self._placed(torch.randint(high, shape, generator=self.generator, device=self._where))

    def permutation(self, n: int) -> Tensor:
        """A random order of ``0 .. n - 1``, int64."""
        return self._placed(torch.randperm(n, generator=self.generator, device=self._where))

    def in_dtype(self, dtype: torch.dtype | None) -> Draw:
        """The same draws in another precision."""
        return replace(self, dtype=dtype)

    @property
    def _where(self) -> torch.device | str | None:
        return self.device if self.generator is None else self.generator.device

    def _placed(self, value: Tensor) -> Tensor:
        return value if self.device is None else value.to(self.device)


GLOBAL = Draw()
"""Torch's global generator, on the default device and in the default precision."""
