"""Writing a recipe out in full: every default, qualified names, versions."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Mapping
from typing import Any

from flowloom_registry.config.annotations import alternatives
from flowloom_registry.config.bind import INVALID, USE, Binder, check_quietly
from flowloom_registry.config.nodes import Position, from_plain
from flowloom_registry.config.plan import ComponentPlan, Plan, RecipePlan, RecordPlan, plans_in
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.config.scope import Scope
from flowloom_registry.config.yaml import write


def resolve(recipe: Recipe, plan: RecipePlan) -> str:
    """YAML that builds the same objects without any default, ``extends`` or override.

    A default that YAML cannot hold (an object, say) stays where it is, in the constructor.
    """
    binder = Binder(recipe.catalog, Scope({}, {}, "", None), [])
    out: dict[str, Any] = {}
    for name, value in plan.sections.items():
        section = recipe.catalog.sections[name]
        if section.form == "meta":
            continue
        if value is None and section.default is not None:
            out[name] = None  # switched off, which leaving it out would not say
        elif value not in (None, [], {}, ""):
            out[name] = _data(value, binder)
    out = {"name": recipe.name, **out, "versions": _versions(plan)}
    return write(out)


def _versions(plan: RecipePlan) -> dict[str, str]:
    used = [one.row.plugin for one in plans_in(plan.sections) if isinstance(one, ComponentPlan)]
    return {plugin.name: plugin.version for plugin in sorted(used, key=lambda p: p.name) if plugin.version}


def _data(value: Any, binder: Binder) -> Any:
    if isinstance(value, ComponentPlan):
        return {USE: value.row.qualified, **_arguments(value, binder)}
    if isinstance(value, RecordPlan):
        return _arguments(value, binder)
    if isinstance(value, Mapping):
        return {key: _data(item, binder) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_data(item, binder) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    return str(value) if isinstance(value, pathlib.PurePath) else value


def _arguments(plan: Plan, binder: Binder) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for parameter in plan.signature.parameters.values():
        if parameter.name in plan.arguments:
            out[parameter.name] = _data(plan.arguments[parameter.name], binder)
        elif not parameter.required and parameter.name not in plan.injected:
            value = _data(parameter.default, binder)
            if _reads_back(parameter.annotation, value, parameter.default, binder):
                out[parameter.name] = value
    rest = {name: value for name, value in plan.arguments.items() if name not in plan.signature.parameters}
    return {**out, **{name: _data(value, binder) for name, value in rest.items()}}


def _reads_back(annotation: Any, value: Any, default: Any, binder: Binder) -> bool:
    """Whether writing a default and reading it again gives the default."""
    try:
        node = from_plain(value, Position("default"))
    except TypeError:
        return False
    if value is None and any(binder.kind_of(member) for member in alternatives(annotation)):
        return False  # a later override may add the section that fills it
    read = check_quietly(binder, node, annotation)
    numbers = type(read) is float and type(default) is int
    return read is not INVALID and (numbers or type(read) is type(default)) and bool(read == default)
