"""Checking a whole recipe before anything is built, so that every problem is reported at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowloom_registry.config.bind import INVALID, Binder, within
from flowloom_registry.config.nodes import ListNode, MapNode, Node, Position, ScalarNode, given, plain
from flowloom_registry.config.plan import RecipePlan, plans_in
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.config.scope import SPEC_PREFIX, Scope
from flowloom_registry.errors import ConfigError, PluginError, Problem
from flowloom_registry.nearest import did_you_mean, join_hints
from flowloom_registry.plugins.sections import SPEC_GIVERS, Section
from flowloom_registry.plugins.targets import load_attribute


def check(recipe: Recipe) -> RecipePlan:
    """Bind every section of a recipe.

    Raises:
        ConfigError: holds every problem of the recipe.
    """
    return _Checking(recipe).result()


class _Checking:
    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.catalog = recipe.catalog
        self.problems = list(recipe.problems)
        components = [part for part in self.catalog.sections.values() if part.form == "component"]
        self.declared = {part.name: str(part.kind) for part in components}
        self.present = {part.name: str(part.kind) for part in components if self._stands(part)}
        self.binder = Binder(self.catalog, self._scope(""), self.problems, trusted=recipe.trusted)

    def result(self) -> RecipePlan:
        self._check_keys()
        sections: dict[str, Any] = {}
        places: dict[str, Position] = {}
        for section in self.catalog.sections.values():
            node = self._node(section)
            written = self.recipe.tree.get(section.name)
            places[section.name] = written.at if written else Position(self.recipe.file)
            value = self._section(section, node)
            if value is not INVALID:
                sections[section.name] = value
        needs = {
            name: _needs(value)
            for name, value in sections.items()
            if self.catalog.sections[name].form in ("component", "components", "record")
        }
        order = self._order(needs, places)
        if self.problems:
            raise ConfigError(_in_reading_order(self.problems, self.recipe.file))
        return RecipePlan(sections, places, self.recipe.file, tuple(order))

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
        return plain(node) if node else None

    def _component(self, section: Section, node: Node | None) -> Any:
        if node is None and section.default and self._stands(section):
            node = ScalarNode(section.default, Position(self.recipe.file))
        if node is None:
            if section.required:
                message = f"a recipe needs a section '{section.name}:' ({section.meaning})"
                switched_off = self.recipe.tree.get(section.name)
                at = switched_off.at if switched_off else Position(self.recipe.file, 1, 1)
                hint = f"'flowloom list {section.kind}' shows what can stand there"
                self.problems.append(at.problem(section.name, message, hint))
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
        """The section's value; null is the same as leaving it out."""
        node = self.recipe.tree.get(section.name)
        return None if isinstance(node, ScalarNode) and node.value is None else node

    def _stands(self, section: Section) -> bool:
        """Whether the recipe has the section; ``null`` takes even a default away."""
        if section.required:
            return True  # its own absence is the problem, not what would follow from it
        node = self.recipe.tree.get(section.name)
        if node is None:
            return section.default is not None
        return not (isinstance(node, ScalarNode) and node.value is None)

    def _scope(self, current: str) -> Scope:
        givers = SPEC_GIVERS
        if current in givers:
            givers = givers[givers.index(current) + 1 :]
        giver = next((name for name in givers if name in self.present), None)
        return Scope(self.declared, self.present, current, giver)

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
        for parameter, source in plan.injected.items():
            needs.setdefault(source.removeprefix(SPEC_PREFIX), f"{plan.path}.{parameter}")
    return needs


def _in_reading_order(problems: list[Problem], first: str) -> list[Problem]:
    """Unique problems: those of file ``first``, then other files as met; by line, those without one first."""
    unique = list(dict.fromkeys(problems))
    files = list(dict.fromkeys([first, *(problem.file for problem in unique)]))
    return sorted(unique, key=lambda p: (files.index(p.file), p.line or 0, p.column or 0))
