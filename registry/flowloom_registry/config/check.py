"""Checking a whole recipe before anything is built, so that every problem is reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowloom_registry.config.bind import INVALID, USE, Binder, within
from flowloom_registry.config.merge import merge
from flowloom_registry.config.nodes import ListNode, MapNode, Node, Position, ScalarNode, given, plain
from flowloom_registry.config.plan import RecipePlan, plans_in
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.config.scope import Scope
from flowloom_registry.config.stage import STAGES
from flowloom_registry.config.stages import staged
from flowloom_registry.config.taken import RUN
from flowloom_registry.errors import ConfigError, PluginError, Problem
from flowloom_registry.nearest import did_you_mean, join_hints
from flowloom_registry.plugins.sections import CONDITIONS_GIVER, CONDITIONS_TAKER, SPEC_GIVERS, Section
from flowloom_registry.plugins.targets import load_attribute

_HOLDS_PLANS = ("component", "components", "named", "record")


def check(
    recipe: Recipe, *, needs: Iterable[str] = (), chosen: Mapping[str, Node] | None = None
) -> RecipePlan:
    """Bind every section of a recipe.

    Args:
        recipe: what to check.
        needs: sections that it must have for what is made of it (a flow has a network).
        chosen: what stands in sections that the recipe leaves to be chosen (see `Section.chosen`); those not
            in here are left open, and everything else is checked as if they were there.

    Raises:
        ConfigError: holds every problem of the recipe.
    """
    return _Checking(recipe, tuple(needs), dict(chosen or {})).result()


class _Checking:
    def __init__(self, recipe: Recipe, needs: tuple[str, ...], chosen: dict[str, Node]) -> None:
        self.recipe = recipe
        self.catalog = recipe.catalog
        self.problems = list(recipe.problems)
        self.needed = needs
        self.chosen = chosen
        sections = self.catalog.sections.values()
        self.declared = {part.name: str(part.kind) for part in sections if part.form == "component"}
        self.lists = {part.name: str(part.kind) for part in sections if part.form == "components"}
        self.named = {part.name: str(part.kind) for part in sections if part.form == "named"}
        self.names = {name: self._names(name) for name in self.named}
        self.present = {
            part.name: str(part.kind) for part in sections if part.form == "component" and self._stands(part)
        }
        self.absent = {part.name: self._place(part.name) for part in sections}
        self.binder = Binder(
            self.catalog, self._scope(""), self.problems, trusted=recipe.trusted, stage=recipe.stage
        )

    def result(self) -> RecipePlan:
        if staged(self.recipe):
            at = self.recipe.tree.entries[STAGES].key_at
            message = "a recipe with stages is built one stage at a time"
            raise ConfigError([at.problem(STAGES, message, "in Python: stages_of(recipe)")])
        self._check_keys()
        for name in self.needed:
            if name not in self.present:
                self.binder.note_lacking(name)
        sections: dict[str, Any] = {}
        places: dict[str, Position] = {}
        left_open = tuple(part.name for part in self.catalog.sections.values() if self._is_open(part))
        for section in self.catalog.sections.values():
            written = self.recipe.tree.get(section.name)
            places[section.name] = written.at if written else Position(self.recipe.file)
            if section.name in left_open:
                continue
            value = self._section(section, self._node(section))
            if value is not INVALID:
                sections[section.name] = value
        needs = {
            name: _needs(value)
            for name, value in sections.items()
            if self.catalog.sections[name].form in _HOLDS_PLANS
        }
        _join(needs, sections)
        order = self._order(needs, places)
        if self.problems:
            raise ConfigError(_in_reading_order(self.problems, self.recipe.file))
        return RecipePlan(sections, places, self.recipe.file, tuple(order), needs, left_open)

    def _check_keys(self) -> None:
        sections = self.catalog.sections
        for key, entry in self.recipe.tree.entries.items():
            if key not in sections:
                hint = join_hints(did_you_mean(str(key), sections), f"sections: {', '.join(sections)}")
                self.problems.append(entry.key_at.problem(str(key), f"a recipe has no section {key!r}", hint))

    def _section(self, section: Section, node: Node | None) -> Any:
        if section.form == "component":
            return self._component(section, node)
        if section.form == "components":
            return self._components(section, node)
        if section.form == "named":
            return self._named(section, node)
        if section.form == "record":
            return self._record(section, node)
        if section.form == "text":
            return self._scalar(section, node, str, "")
        if section.form == "integer":
            return self._scalar(section, node, int, 0)
        if section.form == "mapping":
            if node is None or isinstance(node, MapNode):
                return plain(node) if node else {}
            return self._refuse(section, node, "a mapping")
        if section.form == "claims" and isinstance(node, ScalarNode) and node.value is not None:
            return self._refuse(section, node, "a list of claims")
        return plain(node) if node else None

    def _component(self, section: Section, node: Node | None) -> Any:
        if section.always and self._is_null(section.name):
            message = f"a recipe is never without a {section.kind}"
            hint = f"leave '{section.name}:' out for the one that stands there by default, or name one"
            self.problems.append(self.absent[section.name].problem(section.name, message, hint))
            return INVALID
        if node is None and section.default and self._stands(section):
            node = ScalarNode(section.default, Position(self.recipe.file))
        if node is None:
            if section.required:
                self.binder.note_lacking(section.name)
            return INVALID if section.required else None
        binder = within(self.binder, self._scope(section.name))
        return binder.component(node, str(section.kind), section.name, section.default)

    def _components(self, section: Section, node: Node | None) -> Any:
        if node is None:
            return []
        if not isinstance(node, ListNode):
            return self._refuse(section, node, f"a list of {section.kind} components")
        binder = within(self.binder, self._scope(section.name))
        items = enumerate(node.items)
        values = [binder.component(item, str(section.kind), f"{section.name}[{i}]") for i, item in items]
        return INVALID if any(value is INVALID for value in values) else values

    def _named(self, section: Section, node: Node | None) -> Any:
        if node is None:
            return {}
        if not isinstance(node, MapNode):
            return self._refuse(section, node, f"a mapping of names to {section.kind} components")
        binder = within(self.binder, self._scope(section.name))
        values: dict[str, Any] = {}
        for name, entry in node.entries.items():
            dotted = f"{section.name}.{name}"
            if not (isinstance(name, str) and name.isidentifier()):
                message = f"a name is a word such as 'teacher', got {name!r}"
                self.problems.append(entry.key_at.problem(dotted, message))
            elif self.declared.get(name) == section.kind:
                message = f"{name!r} is the name of a section, which is what a parameter of that name gets"
                self.problems.append(entry.key_at.problem(dotted, message, "choose another name"))
            elif not (isinstance(entry.node, ScalarNode) and entry.node.value is None):
                values[name] = binder.component(entry.node, str(section.kind), dotted)
        return INVALID if any(value is INVALID for value in values.values()) else values

    def _record(self, section: Section, node: Node | None) -> Any:
        try:
            target = load_attribute(str(section.target))
        except PluginError as error:
            self.problems.append(Position(self.recipe.file).problem(section.name, str(error)))
            return INVALID
        binder = within(self.binder, self._scope(section.name))
        return binder.record(node or MapNode({}, Position(self.recipe.file)), target, section.name)

    def _scalar(self, section: Section, node: Node | None, kind: type, default: Any) -> Any:
        return default if node is None else self.binder.value(node, kind, section.name)

    def _refuse(self, section: Section, node: Node, expected: str) -> Any:
        hint = ""
        if section.form == "components" and isinstance(node, ScalarNode):
            hint = f"write [{node.value}]"
        self.problems.append(node.at.problem(section.name, f"expected {expected}, got {given(node)}", hint))
        return INVALID

    def _node(self, section: Section) -> Node | None:
        """The section's value, laid over what was chosen for it; null is the same as leaving it out."""
        written = None if self._is_null(section.name) else self.recipe.tree.get(section.name)
        chosen = self.chosen.get(section.name)
        if chosen is None or self._is_null(section.name):
            return written
        return chosen if written is None else merge(chosen, written)

    def _is_null(self, name: str) -> bool:
        node = self.recipe.tree.get(name)
        return isinstance(node, ScalarNode) and node.value is None

    def _is_open(self, section: Section) -> bool:
        """Whether the recipe names no component, and none was chosen yet."""
        if section.chosen is None or section.name in self.chosen or self._is_null(section.name):
            return False
        node = self.recipe.tree.get(section.name)
        return node is None or (isinstance(node, MapNode) and not {USE, RUN} & set(node.entries))

    def _stands(self, section: Section) -> bool:
        """Whether the recipe has the section; ``null`` takes even a default away."""
        if section.required or section.always:
            return True  # its own absence is the problem, not what would follow from it
        if self.recipe.tree.get(section.name) is None:
            return section.default is not None or section.chosen is not None
        return not self._is_null(section.name)

    def _names(self, section: str) -> tuple[str, ...]:
        node = self.recipe.tree.get(section)
        return tuple(map(str, node.entries)) if isinstance(node, MapNode) else ()

    def _place(self, name: str) -> Position:
        node = self.recipe.tree.get(name)
        return node.at if node is not None else Position(self.recipe.file, 1, 1)

    def _scope(self, current: str) -> Scope:
        givers = SPEC_GIVERS
        if current in givers:
            givers = givers[givers.index(current) + 1 :]
        elif current in self.recipe.catalog.sections and self.recipe.catalog.sections[current].of_data:
            givers = givers[givers.index("codec") + 1 :]
        giver = next((name for name in givers if name in self.present), None)
        joins = current == CONDITIONS_TAKER and CONDITIONS_GIVER in self.present
        return Scope(
            self.declared,
            self.present,
            current,
            giver,
            lists=self.lists,
            named=self.named,
            names=self.names,
            joined=CONDITIONS_GIVER if joins else None,
            asked=self.recipe.tree.get(current) is not None,
            absent=self.absent,
        )

    def _order(self, needs: Mapping[str, dict[str, str]], places: Mapping[str, Position]) -> list[str]:
        """Sections, each after those it needs; a circle is noted as a problem."""
        order: list[str] = []
        done: set[str] = set()

        def visit(name: str, trail: tuple[str, ...]) -> None:
            if name in done or name not in needs:
                return
            if name in trail:
                circle = trail[trail.index(name) :]
                steps = ", ".join(
                    f"{one} needs {other}" for one, other in zip(circle, (*circle[1:], name), strict=True)
                )
                what = needs[circle[-1]][name]
                self.problems.append(
                    places[circle[-1]].problem(what, f"sections need each other: {steps}", "give it here")
                )
                return
            for other in needs[name]:
                visit(other, (*trail, name))
            if name not in done:
                done.add(name)
                order.append(name)

        for name in needs:
            visit(name, ())
        return order


def _needs(value: Any) -> dict[str, str]:
    """Sections from which parts of ``value`` are filled, each with the path of one parameter it fills."""
    needs: dict[str, str] = {}
    for plan in plans_in(value):
        for parameter, filling in plan.injected.items():
            needs.setdefault(filling.section, f"{plan.path}.{parameter}")
    return needs


def _join(needs: dict[str, dict[str, str]], sections: Mapping[str, Any]) -> None:
    """Whoever is told of another section's conditions needs it, unless that one takes it apart."""
    for name in tuple(needs):
        for plan in plans_in(sections[name]):
            for parameter, filling in plan.injected.items():
                if filling.joined is not None and not reaches(needs, filling.joined, name):
                    needs[name].setdefault(filling.joined, f"{plan.path}.{parameter}")


def reaches(needs: Mapping[str, Mapping[str, str]], start: str, end: str) -> bool:
    """Whether ``start`` is, or needs by any way, ``end``."""
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        name = ahead.pop()
        if name == end:
            return True
        if name not in seen:
            seen.add(name)
            ahead.extend(needs.get(name, ()))
    return False


def _in_reading_order(problems: list[Problem], first: str) -> list[Problem]:
    """Unique problems: those of file ``first``, then other files as met; by line, those without one first."""
    unique = list(dict.fromkeys(problems))
    files = list(dict.fromkeys([first, *(problem.file for problem in unique)]))
    return sorted(unique, key=lambda p: (files.index(p.file), p.line or 0, p.column or 0))
