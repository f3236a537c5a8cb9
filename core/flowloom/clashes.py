"""Whether the parts of a recipe can work together, asked once, when it is built.

Every part speaks for itself: ``part.clashes(parts)`` says, in one sentence with what would fit, what it
cannot work with. Contracts have the method; a network, or any other part, may add it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Clash", "Parts", "lacking_role", "problems", "within"]

Parts = Mapping[str, Any]


@dataclass(frozen=True)
class Clash:
    """Two sections that do not fit.

    Args:
        first: section to blame first, by its recipe name.
        second: the other one.
        message: why, and what would fit.
    """

    first: str
    second: str
    message: str


def problems(parts: Parts) -> list[Clash]:
    """All clashes among built parts, as the parts tell them.

    Args:
        parts: components by section name (``geometry``, ``source``, ``path``, ``objective``, ``guidance``,
            ``solver``, ``model``), or lists of them (``trackers``), and ``spec``; absent ones are not judged.
    """
    found: list[Clash] = []
    listed = (value if isinstance(value, (list, tuple)) else (value,) for value in parts.values())
    for part in (one for some in listed for one in some):
        said: Iterable[Clash] = part.clashes(parts) if hasattr(part, "clashes") else ()
        found += [clash for clash in said if clash not in found]
    return found


def lacking_role(role: str, section: str, parts: Parts) -> Iterator[Clash]:
    """A section that trains a further network by the name of its role, where the recipe gives none.

    Args:
        role: its name.
        section: that asks for it.
        parts: as for `problems`; where there is no network at all, nothing is judged.
    """
    have = parts.get("roles", {})
    if "model" in parts and role not in have:
        known = ", ".join(have) or "none"
        message = f"a network is asked for in the role '{role}'; roles that there are: {known}; "
        yield Clash(section, "roles", f"{message}add roles: {{{role}: {{use: mlp}}}}, or another network")


def within(parts: Parts, name: str) -> dict[str, Any]:
    """What stands beside part ``name`` of a product: each section's own of that part, or the section."""
    return {section: _part(value, name) for section, value in parts.items()}


def _part(value: Any, name: str) -> Any:
    inside = getattr(value, "parts", None)
    return inside[name] if isinstance(inside, Mapping) and name in inside else value
