"""Atoms change places, and each pair of them goes where its two atoms go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowloom.spec import Spec
from flowloom.state import Cond, State
from flowloom.symmetries import Moved, Permutation

__all__ = ["GraphPermutation", "matrix_of", "pair_places", "triangle_of"]


def pair_places(n: int) -> Tensor:
    """Where the pair (i, j) stands in the upper triangle: ``(n, n)``, symmetric, -1 on the diagonal."""
    a, b = torch.triu_indices(n, n, offset=1)
    places = torch.full((n, n), -1)
    places[a, b] = places[b, a] = torch.arange(len(a))
    return places


def matrix_of(pairs: Tensor, n: int) -> Tensor:
    """Values of pairs ``(batch, n (n - 1) / 2, ...)`` as ``(batch, n, n, ...)``, symmetric, zeros inside."""
    places = pair_places(n).to(pairs.device).flatten() % (pairs.shape[1] + 1)  # the last is empty
    # One atom has no pair to be like.
    padded = torch.cat([pairs, pairs.new_zeros(len(pairs), 1, *pairs.shape[2:])], 1)
    return padded.index_select(1, places).reshape(len(pairs), n, n, *pairs.shape[2:])


def triangle_of(matrix: Tensor) -> Tensor:
    """Values above the diagonal of ``(batch, n, n, ...)``, row by row: ``(batch, n (n - 1) / 2, ...)``."""
    n = matrix.shape[1]
    a, b = torch.triu_indices(n, n, offset=1, device=matrix.device)
    return matrix.flatten(1, 2).index_select(1, n * a + b)


@dataclass(frozen=True)
class GraphPermutation(Permutation):
    """The atoms of a row change places, and every part of pairs (an upper triangle) goes with them.

    Args:
        of: parts of atoms; see `flowloom.symmetries.Permutation`.
        pairs: parts of pairs ``(n (n - 1) / 2, ...)``.
    """

    of: Mapping[str, int]
    pairs: Sequence[str] = ()

    def moved(self, x: State, cond: Cond, spec: Spec, generator: torch.Generator) -> Moved:
        """Reordered; what conditions mark as real, given or values goes with the part that they speak of."""
        assert isinstance(x, dict)
        some = x[next(iter(self.of))]
        assert isinstance(some, Tensor)
        batch, n = some.shape[:2]
        order = torch.stack([torch.randperm(n, generator=generator) for _ in range(batch)]).to(some.device)
        a, b = torch.triu_indices(n, n, offset=1, device=some.device)
        # The pair at (a, b) is now that of the atoms which came to stand there.
        swapped = pair_places(n).to(some.device)[order[:, a], order[:, b]]

        def placed(value: Any, part: str) -> Any:
            rows = swapped if part in self.pairs else order if part in self.of else None
            if rows is None:
                return value
            shape = (*rows.shape, *(1,) * (value.ndim - 2))
            return value.gather(1, rows.reshape(shape).expand(-1, -1, *value.shape[2:]))

        def answer(state: State) -> State:
            assert isinstance(state, dict)
            return {name: placed(value, name) for name, value in state.items()}

        told = {
            name: placed(value, spec.conditions[name].parts()[0])
            for name, value in cond.items()
            if name in spec.conditions and spec.conditions[name].role in ("real", "given", "values", "start")
        }
        return Moved(answer(x), {**cond, **told}, answer)
