"""Symmetries that a network declares, and random elements of their groups to hold it to them.

A network names its symmetries in the attribute ``symmetries``; the conformance kit draws elements of each
group, moves states by them, and asks whether the answers move as they should.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowloom.spec import Spec
from flowloom.state import Cond, State, part

__all__ = ["Moved", "Period", "Permutation", "Rotation", "Symmetry", "Translation"]


@dataclass(frozen=True)
class Moved:
    """A question moved by one element of a group.

    Args:
        x: the state.
        cond: the conditions.
        answer: what becomes of the answer to the question as it was.
    """

    x: State
    cond: Cond
    answer: Callable[[State], State]


class Symmetry(ABC):
    """A group that acts on states, and how the answers of a network follow."""

    @abstractmethod
    def moved(self, x: State, cond: Cond, spec: Spec, generator: torch.Generator) -> Moved:
        """The question moved by a random element, another one for every row where rows may differ.

        Args:
            x: states ``(batch, *event)``.
            cond: conditions.
            spec: of the states, which says what the conditions speak of.
            generator: of the element.
        """


@dataclass(frozen=True)
class Rotation(Symmetry):
    """Vectors of some parts turn about the origin, and the answers of the same parts with them.

    Args:
        of: parts whose last dimension is a vector; the whole state where empty.
        reflections: mirror images too.
    """

    of: Sequence[str] = ()
    reflections: bool = False

    def moved(self, x: State, cond: Cond, spec: Spec, generator: torch.Generator) -> Moved:
        """Turned; what other parts answer stays."""
        some = _parts(x, self.of)
        first = next(iter(some.values()))
        shape = (len(first), first.shape[-1], first.shape[-1])
        turn, upper = torch.linalg.qr(torch.randn(shape, generator=generator, dtype=torch.float64))
        turn = turn * upper.diagonal(dim1=-2, dim2=-1).sign()[:, None]
        if not self.reflections:
            turn[:, 0] = turn[:, 0] * torch.linalg.det(turn).sign()[:, None]

        def turned(state: State) -> State:
            return _with(state, self.of, lambda v: _rowwise(v, turn))

        values = {name: _rowwise(v, turn) for name, v in cond.items() if _holds(spec, name, self.of)}
        return Moved(turned(x), {**cond, **values}, turned)


@dataclass(frozen=True)
class Translation(Symmetry):
    """All points of a part shift together, and no answer changes.

    Args:
        of: parts ``(..., points, d)``, each shifted by the same vector; the whole state where empty.
    """

    of: Sequence[str] = ()

    def moved(self, x: State, cond: Cond, spec: Spec, generator: torch.Generator) -> Moved:
        """Shifted by a normal vector of size 2."""
        first = next(iter(_parts(x, self.of).values()))
        shift = 2 * torch.randn((len(first), first.shape[-1]), generator=generator, dtype=torch.float64)

        def shifted(v: Tensor) -> Tensor:
            return v + shift.to(v).reshape(len(v), *(1,) * (v.ndim - 2), -1)

        values = {name: shifted(v) for name, v in cond.items() if _holds(spec, name, self.of)}
        return Moved(_with(x, self.of, shifted), {**cond, **values}, _same)


@dataclass(frozen=True)
class Period(Symmetry):
    """Single coordinates go whole periods round, and no answer changes.

    Args:
        of: parts of coordinates with periods; the whole state where empty.
        period: of each coordinate.
    """

    of: Sequence[str] = ()
    period: float = 1.0

    def moved(self, x: State, cond: Cond, spec: Spec, generator: torch.Generator) -> Moved:
        """From 3 periods down to 3 periods up."""

        def round_(v: Tensor) -> Tensor:
            turns = torch.randint(-3, 4, v.shape, generator=generator)
            return v + self.period * turns.to(v)

        values = {name: round_(v) for name, v in cond.items() if _holds(spec, name, self.of)}
        return Moved(_with(x, self.of, round_), {**cond, **values}, _same)


@dataclass(frozen=True)
class Permutation(Symmetry):
    """The points of a row change places in every part that has them, and their answers with them.

    Args:
        of: how many leading dimensions of an event count points, by part: 1 for atoms, 2 for pairs of
            atoms. A state without parts is named by the empty word. Other parts stay, and their answers too.
    """

    of: Mapping[str, int]

    def moved(self, x: State, cond: Cond, spec: Spec, generator: torch.Generator) -> Moved:
        """Reordered; what conditions mark as real, given or values of those parts goes with them."""
        some = _parts(x, [name for name in self.of if name])
        first = next(iter(some.values()))
        order = torch.stack(
            [torch.randperm(first.shape[1], generator=generator) for _ in range(len(first))]
        ).to(first.device)

        def placed(state: State) -> State:
            if not isinstance(state, dict):
                return _reordered(state, order, self.of[""])
            return {k: _reordered(v, order, self.of[k]) if k in self.of else v for k, v in state.items()}

        moved = dict(cond)
        for key, value in cond.items():
            condition = spec.conditions.get(key)
            if condition is None or condition.role in ("inform", "setting"):
                continue
            dims = [self.of[p] for p in condition.parts() if p in self.of]
            if dims:
                moved[key] = _reordered(value, order, min(dims[0], value.ndim - 1))
        return Moved(placed(x), moved, placed)


def _same(state: State) -> State:
    return state


def _parts(x: State, of: Sequence[str]) -> dict[str, Tensor]:
    if isinstance(x, Tensor):
        return {"": x}
    return {name: x[name] for name in of or x}  # type: ignore[misc]


def _with(x: State, of: Sequence[str], fn: Callable[[Tensor], Tensor]) -> State:
    if isinstance(x, Tensor):
        return fn(x)
    return {name: fn(part(x, name)) if not of or name in of else v for name, v in x.items()}


def _holds(spec: Spec, name: str, of: Sequence[str]) -> bool:
    condition = spec.conditions.get(name)
    if condition is None or condition.role not in ("values", "start"):
        return False
    return not of or bool(set(condition.parts()) & set(of))


def _rowwise(v: Tensor, turn: Tensor) -> Tensor:
    rows = v.reshape(len(v), -1, v.shape[-1])
    return (rows @ turn.to(v)).reshape(v.shape)


def _reordered(v: Any, order: Tensor, dims: int) -> Tensor:
    out: Tensor = v
    for dim in range(1, dims + 1):
        shape = [1] * out.ndim
        shape[0], shape[dim] = order.shape
        out = out.gather(dim, order.reshape(shape).expand_as(out))
    return out
