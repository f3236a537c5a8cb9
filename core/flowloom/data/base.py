"""The data set contract: rows by index, a spec, and named splits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from flowloom.errors import DataError
from flowloom.layout import Layout
from flowloom.spec import Condition, Role, Spec
from flowloom.state import Cond, State, batch_size, concat, shape_of, take, to_device


@dataclass(frozen=True)
class Examples:
    """A batch of states with their conditions.

    Args:
        x: state of shape ``(n, *event)`` (or a dict of such).
        cond: conditions, each with first dimension ``n``.
        layout: which entries are real and which given, where somebody who knows the spec has made it.
    """

    x: State
    cond: Cond = field(default_factory=dict)
    layout: Layout | None = None

    def __len__(self) -> int:
        return batch_size(self.x)

    def take(self, rows: Tensor) -> Examples:
        """Rows ``rows`` (int64, shape ``(k,)``) of states and conditions alike."""
        layout = None if self.layout is None else self.layout.take(rows)
        return Examples(take(self.x, rows), {name: value[rows] for name, value in self.cond.items()}, layout)

    @classmethod
    def concat(cls, parts: Sequence[Examples]) -> Examples:
        """The rows of all parts one after another, with the layouts that they have, if all have one."""
        cond = {name: torch.cat([part.cond[name] for part in parts]) for name in parts[0].cond}
        layouts = [part.layout for part in parts if part.layout is not None]
        layout = Layout.concat(layouts) if len(layouts) == len(parts) else None
        return cls(concat([part.x for part in parts]), cond, layout)

    def to(self, device: torch.device | str) -> Examples:
        """The same examples on another device."""
        layout = None if self.layout is None else self.layout.to(device)
        cond = {name: value.to(device) for name, value in self.cond.items()}
        return Examples(to_device(self.x, device), cond, layout)

    def evenly(self, most: int) -> Tensor:
        """As `Dataset.evenly`: where examples are all rows of a file, the first ones may be of one class."""
        return _evenly(len(self), most)

    def exactly(self, n: int) -> Tensor:
        """As `Dataset.exactly`."""
        return _exactly(len(self), n)

    def laid_out(self, spec: Spec) -> Examples:
        """The same examples with the layout that their conditions announce by ``spec``."""
        return replace(self, layout=Layout.of(spec, self.cond))

    def with_layout(self, spec: Spec) -> Examples:
        """The same examples with the layout that they have, or else the one of `laid_out`."""
        return self if self.layout is not None else self.laid_out(spec)


class Dataset(ABC):
    """Rows of data that can be asked for by index.

    A data set is cheap to construct where it can be (files are read on first use), and its constructor
    arguments are what a recipe may set. Randomness belongs to the caller: the same rows give the same
    examples in every process, which is what makes a run resumable.
    """

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """Shape, kind and conditions of the examples."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows`` (int64, shape ``(n,)``), on the CPU."""

    def split(self, name: str) -> Dataset:
        """The data set of another split: ``train``, ``val`` or ``test``.

        Raises:
            DataError: there is no such split.
        """
        if name == "train":
            return self
        raise DataError(f"{type(self).__name__} has no split '{name}'; it has: train")

    def fingerprint(self) -> str | None:
        """What tells these rows from any others without a look at them, the same in every process.

        A data set that reads files may say which, of what size and age, and what it takes of them. None, as
        here, where only the rows themselves tell; then whoever keeps something made of them reads them all.
        """
        return None

    def keep_in(self, folder: Path) -> None:  # noqa: B027  (most data have nothing to keep)
        """Where it may keep what it makes once; data that are read from somewhere need no such place."""

    def make(self, told: Callable[[int], None] | None = None) -> None:  # noqa: B027  (see keep_in)
        """Make what is made once and not read from anywhere, before training.

        Args:
            told: called with the number of examples made so far.
        """

    def evenly(self, most: int) -> Tensor:
        """Indices of ``most`` rows at most, int64, evenly spread over all of them.

        Raises:
            DataError: ``most`` is less than 1.
        """
        return _evenly(len(self), most)

    def exactly(self, n: int) -> Tensor:
        """Rows ``(n,)``, spread `evenly`; where there are no more than that they go round."""
        return _exactly(len(self), n)

    def all(self) -> Examples:
        """Every example, in order."""
        return self.take(torch.arange(len(self)))


def _evenly(n: int, most: int) -> Tensor:
    if most < 1:
        raise DataError(f"rows of data to look at count from 1, got {most}")
    count = min(n, most)
    return torch.arange(count) * n // max(count, 1)


def _exactly(there: int, n: int) -> Tensor:
    return _evenly(there, n) if n < there else torch.arange(n) % there


class Tensors(Dataset):
    """A data set held in memory.

    Args:
        x: states of shape ``(n, *event)``; int64 leaves count as tokens.
        cond: conditions with first dimension ``n``; int64 entries of shape ``(n,)`` count as class ids.
        test: examples of the ``test`` split, if there is one.
        spec: overrides the spec that is derived from the tensors.
        roles: what conditions are for, where they do not inform the network: a role (``real`` for a mask,
            ``start`` for x0), or a `flowloom.spec.Condition` that names its part as well. Shapes are those of
            the tensors.

    >>> Tensors(torch.zeros(10, 2), {"label": torch.arange(10) % 3}).spec.conditions["label"].classes
    3
    """

    def __init__(
        self,
        x: State,
        cond: Mapping[str, Tensor] | None = None,
        *,
        test: Examples | None = None,
        spec: Spec | None = None,
        roles: Mapping[str, Role | Condition] | None = None,
    ) -> None:
        self.examples = Examples(x, dict(cond or {}))
        self.test = test
        self._spec = spec or _spec_of(x, self.examples.cond, roles or {})
        for name, value in self.examples.cond.items():
            if len(value) != len(self):
                raise DataError(f"condition '{name}' has {len(value)} rows beside {len(self)} states")

    @property
    def spec(self) -> Spec:
        """Shape, kind and conditions of the examples."""
        return self._spec

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows``."""
        return self.examples.take(rows)

    def split(self, name: str) -> Dataset:
        """``train`` (itself) or ``test``, where one was given."""
        if name == "test" and self.test is not None:
            return Tensors(self.test.x, self.test.cond, spec=self._spec)
        return super().split(name)


def _spec_of(x: State, cond: Cond, roles: Mapping[str, Role | Condition]) -> Spec:
    strangers = sorted(set(roles) - set(cond))
    if strangers:
        raise DataError(f"roles name {', '.join(strangers)}; the conditions are {', '.join(cond) or 'none'}")
    conditions = {}
    for name, value in cond.items():
        role = roles.get(name, "inform")
        if role != "inform":
            said = role if isinstance(role, Condition) else Condition(role=role)
            conditions[name] = replace(said, shape=tuple(value.shape[1:]))
            continue
        is_class = not value.is_floating_point() and value.dtype != torch.bool
        classes = int(value.max()) + 1 if is_class and value.numel() else None
        conditions[name] = Condition(classes, tuple(value.shape[1:]))
    return _leaf_spec(x, conditions)


def _leaf_spec(x: State, conditions: Mapping[str, Condition]) -> Spec:
    if isinstance(x, dict):
        return Spec(parts={k: _leaf_spec(v, {}) for k, v in x.items()}, conditions=conditions)
    if x.numel() == 0:
        raise DataError(f"a data set of shape {shape_of(x)} is empty; give at least one example")
    vocab = None if x.is_floating_point() else int(x.max()) + 1
    return Spec(shape=tuple(x.shape[1:]), vocab=vocab, conditions=conditions)
