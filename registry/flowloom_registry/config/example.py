"""Building one component by itself: from its row's example, or from arguments given in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowloom_registry.config.bind import Binder
from flowloom_registry.config.build import construct
from flowloom_registry.config.nodes import Entry, MapNode, Position, ScalarNode, from_plain
from flowloom_registry.config.plan import AnyPlan
from flowloom_registry.config.scope import Filling, Scope
from flowloom_registry.errors import ConfigError, PluginError, Problem
from flowloom_registry.plugins.catalog import Catalog
from flowloom_registry.plugins.rows import Row

SPEC, TRAINED_FLOW = "spec", "trained"
"""Keys under which a spec and a trained flow are handed over."""


def build_component(
    kind: str,
    reference: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    given: Mapping[str, object] | None = None,
    catalog: Catalog | None = None,
    place: str = "",
    trusted: bool = True,
) -> Any:
    """Build a component as a recipe would.

    Args:
        kind: its kind.
        reference: its name, ``plugin:name`` or target.
        arguments: constructor arguments as YAML could hold them; ``{use: name}`` nests components.
        given: objects for parameters annotated with a contract (key: the kind), a spec (key: ``spec``) or a
            trained flow (key: ``trained``). As in a recipe, components fill parameters by name: that of the
            kind, or of its section (``data``).
        catalog: where names are looked up; everything installed when None.
        place: what messages call the place of the arguments.

    Raises:
        ConfigError: holds every problem of the arguments.
    """
    if catalog is None:
        from flowloom_registry.plugins.discovery import catalog as installed

        catalog = installed()
    objects = dict(given or {})
    names = _names(objects, catalog)
    plan = plan_component(
        kind, reference, arguments, given=objects, catalog=catalog, place=place, trusted=trusted
    )

    def fetch(filling: Filling, asking: AnyPlan, parameter: str) -> Any:
        if filling.spec:
            spec: Any = objects[SPEC]
            for name in filling.part:
                spec = spec.parts[name]
            return spec
        if filling.trained:
            return objects[filling.section]
        found: Any = objects[names[filling.section]]
        for name in filling.part:
            found = found.parts[name] if getattr(found, "parts", None) else found
        return found

    return construct(plan, fetch)


def plan_component(
    kind: str,
    reference: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    given: Mapping[str, object],
    catalog: Catalog,
    place: str = "",
    trusted: bool = True,
) -> Any:
    """The first half of `build_component`: arguments are checked against the signature, nothing is made.

    Raises:
        ConfigError: holds every problem of the arguments.
    """
    kinds = _names(given, catalog)
    at = Position(place or f"{kind} {reference!r}")
    try:
        node = from_plain(arguments or {}, at)
    except TypeError as error:
        raise ConfigError([at.problem("", str(error))]) from error
    if not isinstance(node, MapNode):
        raise ConfigError([at.problem("", f"arguments are a mapping, got {arguments!r}")])
    problems: list[Problem] = []
    spec, flow = (name if name in given else None for name in (SPEC, TRAINED_FLOW))
    scope = Scope(kinds, kinds, "", spec, flow=flow)
    binder = Binder(catalog, scope, problems, trusted=trusted)
    entries = {"use": Entry(at, ScalarNode(reference, at)), **node.entries}
    plan = binder.component(MapNode(entries, at), kind, "")
    if problems:
        raise ConfigError(problems)
    return plan


def build_example(
    row: Row, *, given: Mapping[str, object] | None = None, catalog: Catalog | None = None
) -> Any:
    """Build a component from the example of its row.

    Args:
        row: which one.
        given: as for `build_component`.
        catalog: as for `build_component`.

    Raises:
        ConfigError: the example does not fit the constructor.
        PluginError: the row does not come from a plugin and so has no example.
    """
    if not row.listed:
        raise PluginError(f"{row.kind} {row.target} does not come from a plugin and has no example")
    place = f"example of {row.kind}/{row.qualified}"
    return build_component(row.kind, row.qualified, row.example, given=given, catalog=catalog, place=place)


def _names(given: Mapping[str, object], catalog: Catalog) -> dict[str, str]:
    """Names of parameters that are filled -> kind: every kind given, and the sections that hold one."""
    kinds = {kind: kind for kind in given if kind not in (SPEC, TRAINED_FLOW)}
    homes = {
        part.name: str(part.kind)
        for part in catalog.sections.values()
        if part.form == "component" and part.kind in kinds
    }
    return {**homes, **kinds}
