"""Data that stand for a recipe's own where only their form matters."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.seeds import generator
from flowloom.spec import Condition, Spec
from flowloom.state import State

__all__ = ["Assumed"]


class Assumed(Dataset):
    """Rows of noise in the form of a spec: numbers, tokens and classes of the right shape, nothing padded.

    Args:
        spec: of the data.
        rows: how many.
    """

    def __init__(self, spec: Spec, rows: int = 4096) -> None:
        self._spec, self.rows = spec, rows

    @property
    def spec(self) -> Spec:
        """As given."""
        return self._spec

    def __len__(self) -> int:
        return self.rows

    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows``; the same for the same first row."""
        draws = generator(int(rows[0]) if len(rows) else 0, "assumed")
        n = len(rows)
        cond = {name: _entry(one, n, draws) for name, one in self._spec.conditions.items()}
        return Examples(_state(self._spec, n, draws), cond)

    def split(self, name: str) -> Dataset:
        """Itself."""
        return self


def _state(spec: Spec, n: int, draws: torch.Generator) -> State:
    if spec.parts:
        return {name: _state(part, n, draws) for name, part in spec.parts.items()}
    if spec.vocab is not None:
        return torch.randint(spec.vocab, (n, *spec.shape), generator=draws)
    drawn = torch.randn(n, *spec.shape, generator=draws)
    return drawn if spec.limits is None else drawn.clamp(*spec.limits)


def _entry(condition: Condition, n: int, draws: torch.Generator) -> Tensor:
    if condition.role == "real":
        return torch.ones(n, *condition.shape, dtype=torch.bool)
    if condition.role == "given":
        return torch.zeros(n, *condition.shape, dtype=torch.bool)
    if condition.classes is not None:
        return torch.randint(condition.classes, (n, *condition.shape), generator=draws)
    return torch.randn(n, *condition.shape, generator=draws)
