"""What a component may be given by the rest of the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SPEC_PREFIX = "spec:"
"""Marks an injected spec: ``spec:data`` is the ``.spec`` of section ``data``."""


@dataclass(frozen=True)
class Scope:
    """The sections that can fill a parameter.

    Args:
        declared: section -> kind, for every single-component section there is.
        present: those of them that this recipe has, by itself or by default.
        current: section being bound; nothing is ever given itself.
        spec_giver: section whose ``.spec`` describes the states as seen from ``current``, if any.
    """

    declared: Mapping[str, str]
    present: Mapping[str, str]
    current: str
    spec_giver: str | None

    def component(self, parameter: str, kind: str) -> str | None:
        """Section that fills a parameter annotated with the contract of ``kind``, or None.

        A section of the parameter's own name comes first (``teacher: Model`` takes section ``teacher``),
        then the first section of that kind.
        """
        if self.declared.get(parameter) == kind and parameter != self.current:
            return parameter if parameter in self.present else None
        first = next((name for name, its_kind in self.present.items() if its_kind == kind), None)
        return None if first == self.current else first

    def spec(self) -> str | None:
        """What fills a parameter annotated with the spec class, or None."""
        return f"{SPEC_PREFIX}{self.spec_giver}" if self.spec_giver else None

    def home_of(self, parameter: str, kind: str) -> str | None:
        """Section in which a recipe would set what such a parameter asks for."""
        if self.declared.get(parameter) == kind:
            return parameter
        return next((name for name, its_kind in self.declared.items() if its_kind == kind), None)
