"""Writing a recipe out in full: every default, qualified names, versions."""

from __future__ import annotations

import dataclasses
import enum
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from flowloom_registry.config.annotations import alternatives
from flowloom_registry.config.bind import INVALID, USE, Binder, check_quietly
from flowloom_registry.config.nodes import Position, from_plain, plain
from flowloom_registry.config.plan import ComponentPlan, ImportPlan, Plan, RecipePlan, RecordPlan, plans_in
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.config.scope import Scope
from flowloom_registry.config.taken import FROZEN, PART, RUN, USED, RunPlan, names_of
from flowloom_registry.config.yaml import write
from flowloom_registry.plugins.targets import is_file_target


def resolve(
    recipe: Recipe,
    plan: RecipePlan,
    folder: pathlib.Path | None = None,
    *,
    apart: bool = True,
    used: Mapping[str, str] | None = None,
) -> str:
    """YAML that builds the same objects without any default, ``extends`` or override.

    A default that YAML cannot hold (an object, say) stays where it is, in the constructor.

    Args:
        recipe: what to write.
        plan: what was made of it.
        folder: where the text will lie, where that is known. Files of the project around it (what lies in the
            folder two above the run, which holds ``runs/``) are named relative to it, others absolutely.
        apart: whether the folder has its own copies of the runs that are used (``used/NAME``), which are then
            what is named; else stages by their names, and runs as other files.
        used: where those copies lie instead, as the folder sees them, by the identity of the run.
    """
    names: Mapping[str, str] = used or {}
    if used is None and apart and folder is not None:
        names = {run: f"{USED}/{name}" for run, name in names_of(plan.sections).items()}
    writer = _Writer(Binder(recipe.catalog, Scope({}, {}, "", None), []), folder, names)
    out: dict[str, Any] = {}
    for name, value in plan.sections.items():
        section = recipe.catalog.sections[name]
        if section.form in ("meta", "claims"):
            continue
        if value is None and section.default is not None:
            out[name] = None  # switched off, which leaving it out would not say
        elif value not in (None, [], {}, ""):
            out[name] = writer.data(value)
    for name in plan.left_open:
        written = recipe.tree.get(name)
        if written is not None:
            out[name] = plain(written)
    out = {"name": recipe.name, **out, "versions": _versions(plan)}
    return write(out)


def defaults_at(recipe: Recipe, plan: RecipePlan) -> dict[str, Any]:
    """What stands where a recipe says nothing, by dotted place (``train.ema``), as `resolve` would write it.

    Sections that the recipe leaves out are among them, by their names.
    """
    writer = _Writer(Binder(recipe.catalog, Scope({}, {}, "", None), []), None, {})
    found: dict[str, Any] = {}
    for name, value in plan.sections.items():
        if name not in recipe.tree.entries and recipe.catalog.sections[name].form not in ("meta", "claims"):
            found[name] = writer.data(value)
    for one in plans_in(plan.sections):
        if not isinstance(one, RunPlan):
            every = dataclasses.replace(one, arguments={})
            found |= {f"{one.path}.{name}": value for name, value in writer.arguments(every).items()}
    return found


def _versions(plan: RecipePlan) -> dict[str, str]:
    used = [one.row.plugin for one in plans_in(plan.sections) if isinstance(one, ComponentPlan)]
    return {plugin.name: plugin.version for plugin in sorted(used, key=lambda p: p.name) if plugin.version}


@dataclasses.dataclass(frozen=True)
class _Writer:
    binder: Binder
    folder: pathlib.Path | None
    names: Mapping[str, str]

    def data(self, value: Any) -> Any:
        """A checked value as plain data."""
        if isinstance(value, ComponentPlan):
            row = value.row
            return {USE: row.qualified if row.listed else self._target(row.target), **self.arguments(value)}
        if isinstance(value, RecordPlan):
            return self.arguments(value)
        if isinstance(value, RunPlan):
            part = {PART: value.part} if value.part else {}
            return {RUN: self._run(value), **part, FROZEN: value.frozen}
        if isinstance(value, ImportPlan):
            return self._target(value.target)
        if isinstance(value, Mapping):
            return {key: self.data(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.data(item) for item in value]
        if isinstance(value, enum.Enum):
            return value.value
        return self._file(value) if isinstance(value, pathlib.PurePath) else value

    def _run(self, plan: RunPlan) -> str:
        """The run as this folder sees it: its own copy, a stage, or a folder elsewhere."""
        if plan.identity in self.names:
            return self.names[plan.identity]
        return self._file(plan.folder) if plan.folder is not None else str(plan.stage)

    def _target(self, target: str) -> str:
        """``module:name`` as it is, ``file.py:name`` with the file as this folder sees it."""
        if not is_file_target(target):
            return target
        file, _, name = target.rpartition(":")
        seen = self._file(pathlib.PurePath(file))
        return f"{seen}:{name}"

    def _file(self, file: pathlib.PurePath) -> str:
        whole = pathlib.Path(os.path.abspath(file))
        if self.folder is None:
            return str(whole)
        home = pathlib.Path(os.path.abspath(self.folder))
        project = _whole(home).parent.parent
        if project == project.parent or not whole.is_relative_to(project):
            return str(whole)
        return pathlib.PurePath(os.path.relpath(whole, home)).as_posix()

    def arguments(self, plan: Plan) -> dict[str, Any]:
        """What a constructor is given, defaults included, as plain data."""
        out: dict[str, Any] = {}
        for parameter in plan.signature.parameters.values():
            if parameter.name in plan.arguments:
                out[parameter.name] = self.data(plan.arguments[parameter.name])
            elif not parameter.required and parameter.name not in plan.injected:
                value = (
                    parameter.default
                    if isinstance(parameter.default, pathlib.PurePath)
                    else self.data(parameter.default)
                )
                if _reads_back(parameter.annotation, value, parameter.default, self.binder):
                    out[parameter.name] = value
        rest = {
            name: value for name, value in plan.arguments.items() if name not in plan.signature.parameters
        }
        return {**out, **{name: self.data(value) for name, value in rest.items()}}


def _whole(home: pathlib.Path) -> pathlib.Path:
    """The folder of the whole run that a stage's, or a copy's, is a part of."""
    while home.parent.name in (USED, "stages"):
        home = home.parent.parent
    return home


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
