"""The guidance contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from flowloom.clashes import Clash, Parts
from flowloom.fields import Field


class Guidance(ABC):
    """Turns a field into another of the same kind."""

    @abstractmethod
    def __call__(self, field: Field) -> Field:
        """The guided field."""

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """What of ``parts`` this rule cannot work with; see `flowloom.clashes`."""
        return ()


class Unguided(Guidance):
    """The field as it is."""

    def __call__(self, field: Field) -> Field:
        """Return ``field``."""
        return field
