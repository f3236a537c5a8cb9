"""The guidance contract."""

from __future__ import annotations

from abc import ABC, abstractmethod

from flowloom.fields import Field


class Guidance(ABC):
    """Turns a field into another of the same kind."""

    @abstractmethod
    def __call__(self, field: Field) -> Field:
        """The guided field."""


class Unguided(Guidance):
    """The field as it is."""

    def __call__(self, field: Field) -> Field:
        """Return ``field``."""
        return field
