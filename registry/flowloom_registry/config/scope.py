"""What a component may be given by the rest of the recipe: by name, and part by part inside a product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from flowloom_registry.config.nodes import Position


@dataclass(frozen=True)
class Filling:
    """What fills a parameter that the recipe leaves out.

    Args:
        section: the section that has it.
        name: one of the section's named components (``roles.teacher``); empty where it is all of the section.
        part: where the asking component is a part of a product: the names that lead to it. The same part of
            what the section holds is given, where that is a product itself.
        spec: whether the ``.spec`` of what the section holds is given, and not that itself.
        joined: section whose own conditions are added to the spec (those that an objective asks of a
        network).
        trained: whether all of a trained flow is asked for, and no network alone.
    """

    section: str
    name: str = ""
    part: tuple[str, ...] = ()
    spec: bool = False
    joined: str | None = None
    trained: bool = False

    def __str__(self) -> str:
        return ".".join((self.section, *filter(None, (self.name,)), *self.part))


@dataclass(frozen=True)
class Scope:
    """The sections that can fill a parameter, which they do by its name.

    Args:
        declared: section -> kind, for every section of a single component that there is.
        present: those of them that this recipe has, by itself or by default.
        current: section being bound; nothing is ever given itself.
        spec_giver: section whose ``.spec`` describes the states as seen from ``current``, if any.
        part: inside a product, the names of the parts that lead to the component being bound.
        lists: section -> kind, for every section that is a list of components.
        named: section -> kind, for every section that maps names to components.
        names: the names that this recipe has in each of those.
        joined: section whose conditions the networks of this section are to know, if any.
        asked: False where ``current`` stands by default: what it lacks is then a section of the recipe.
        absent: where to point for a section that the recipe lacks.
        flow: section that fills every parameter which asks for a trained flow, where one stands by itself.
    """

    declared: Mapping[str, str]
    present: Mapping[str, str]
    current: str
    spec_giver: str | None
    part: tuple[str, ...] = ()
    lists: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    joined: str | None = None
    asked: bool = True
    absent: Mapping[str, Position] = field(default_factory=dict)
    flow: str | None = None

    def within(self, part: str) -> Scope:
        """The scope of one part of the component being bound."""
        return replace(self, part=(*self.part, part))

    def component(self, parameter: str, kind: str) -> Filling | None:
        """What fills a parameter annotated with the contract of ``kind``: the section of its name, else the
        role.

        A network that is called ``teacher`` is never filled with the one that is called ``model``.
        """
        if self.declared.get(parameter) == kind:
            there = parameter in self.present and parameter != self.current
            return Filling(parameter, part=self.part) if there else None
        for section, its_kind in self.named.items():
            if its_kind == kind and section != self.current and parameter in self.names.get(section, ()):
                return Filling(section, parameter, self.part)
        return None

    def components(self, parameter: str, kind: str) -> Filling | None:
        """What fills a parameter annotated with a list of components: the list section of its name."""
        there = self.lists.get(parameter) == kind and parameter != self.current
        return Filling(parameter) if there else None

    def mapping(self, parameter: str, kind: str) -> Filling | None:
        """What fills a parameter annotated with a mapping to components: the section of its name."""
        there = self.named.get(parameter) == kind and parameter != self.current
        return Filling(parameter) if there else None

    def role(self, parameter: str) -> Filling | None:
        """What fills a parameter annotated with a trained flow: the role of its name."""
        if self.flow is not None:
            return Filling(self.flow, trained=True)
        for section in self.named:
            if section != self.current and parameter in self.names.get(section, ()):
                return Filling(section, parameter, trained=True)
        return None

    def spec(self) -> Filling | None:
        """What fills a parameter annotated with the spec class, or None."""
        if self.spec_giver is None:
            return None
        return Filling(self.spec_giver, part=self.part, spec=True, joined=self.joined)

    def home_of(self, parameter: str, kind: str) -> str | None:
        """Section in which a recipe would set what a parameter of this name asks for."""
        return parameter if self.declared.get(parameter) == kind else None

    def room_for(self, kind: str) -> str | None:
        """Section of named components of a kind, if any."""
        return next((section for section, its_kind in self.named.items() if its_kind == kind), None)
