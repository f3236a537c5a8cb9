"""Fields made of another field."""

from __future__ import annotations

import copy
from typing import Any

import torch

from flowloom.errors import IncompatibleError
from flowloom.fields.base import Field, evaluate
from flowloom.paths import Path
from flowloom.paths.conversions import Kind, kind_name
from flowloom.sources import Source
from flowloom.state import Cond, State

__all__ = ["ThroughPath", "Unasked", "Wrapped", "innermost", "read_as", "rewrapped"]


class Wrapped(Field):
    """A field around another: whatever it does not change is the other's.

    Subclasses change ``__call__``, where they ask the other field by `ask`, and whatever attribute is no
    longer true.

    Args:
        field: the other field.
    """

    def __init__(self, field: Field) -> None:
        self.field = field
        self._like(field)

    def ask(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """What the other field says."""
        return evaluate(self.field, x, t, cond, generator)

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """As the other field."""
        return self.ask(x, t, cond, generator)

    def calls(self, t: float, cond: Cond) -> int:
        """As the other field."""
        return self.field.calls(t, cond)


class ThroughPath(Wrapped):
    """A field read as another kind through its path.

    Args:
        field: the field to read.
        kind: the kind wanted.
    """

    def __init__(self, field: Field, kind: Kind) -> None:
        super().__init__(field)
        self.kind = kind

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """Evaluate once and convert."""
        assert self.path is not None
        value = self.ask(x, t, cond, generator)
        return self.path.convert(value, x, t, self.field.kind, self.kind, self.source)


class Unasked(Field):
    """What a solver or guidance is shown that only looks at what a field is.

    Args:
        kind: of its answers.
        path: of the field.
        source: of the path; None where scores are not known.
    """

    def __init__(self, kind: Kind, path: Path, source: Source | None) -> None:
        self.kind, self.path, self.source = kind, path, source

    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """Never."""
        raise NotImplementedError


def innermost(field: Field) -> Field:
    """The field within all that wraps it."""
    while isinstance(field, Wrapped):
        field = field.field
    return field


def rewrapped(field: Field, inside: Field) -> Field:
    """What wraps ``field``, around another: guidance of a whole at the velocity of one of its parts.

    Args:
        field: a field within wrappers.
        inside: in its place.

    Raises:
        IncompatibleError: a wrapper asks a second field, which knows nothing of what ``inside`` is told.
    """
    if not isinstance(field, Wrapped):
        return inside
    if any(isinstance(value, Field) for name, value in vars(field).items() if name != "field"):
        raise IncompatibleError(
            f"{type(field).__name__} asks a second network, which has not read what this one has; use "
            "classifier-free"
        )
    found = copy.copy(field)
    found.field, found.kind, found.source = rewrapped(field.field, inside), inside.kind, inside.source
    return found


def read_as(field: Field, kind: Kind) -> Field:
    """``field`` as one of ``kind``: itself, or what it says of itself, or through its path.

    Raises:
        IncompatibleError: neither the field nor its path knows how.
    """
    if _same(field.kind, kind):
        return field
    if (own := field.as_kind(kind)) is not None:
        return own
    if field.path is None:
        raise IncompatibleError(
            f"a {kind_name(field.kind)} field without a path cannot serve as {kind_name(kind)}"
        )
    if not field.path.converts(field.kind, kind, field.source):
        raise IncompatibleError(field.path.gap(field.kind, kind))
    return ThroughPath(field, kind)


def _same(given: Kind, wanted: Kind) -> bool:
    if isinstance(given, dict):
        inner = wanted if isinstance(wanted, dict) else dict.fromkeys(given, wanted)
        return given.keys() == inner.keys() and all(_same(v, inner[k]) for k, v in given.items())
    return given == wanted
