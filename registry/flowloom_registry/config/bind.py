"""Binding YAML to constructor signatures. Nothing is built here, and every problem is collected."""

from __future__ import annotations

import collections.abc
import enum
import inspect
import math
import pathlib
import sys
import typing
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from flowloom.errors import FlowloomError
from flowloom_registry.config.annotations import (
    LISTS,
    MAPPINGS,
    SCALARS,
    alternatives,
    describe,
    is_none,
    is_record,
)
from flowloom_registry.config.nodes import Entry, ListNode, MapNode, Node, Position, ScalarNode, given, plain
from flowloom_registry.config.plan import ComponentPlan, ImportPlan, RecordPlan
from flowloom_registry.config.scope import Filling, Scope
from flowloom_registry.config.signature import NOTHING, Parameter, Signature, read_signature
from flowloom_registry.config.stage import Stage
from flowloom_registry.config.taken import RUN, RunPlan
from flowloom_registry.config.taking import Taking
from flowloom_registry.errors import PluginError, Problem
from flowloom_registry.nearest import did_you_mean, join_hints
from flowloom_registry.plugins.catalog import Catalog
from flowloom_registry.plugins.rows import Plugin, Row
from flowloom_registry.plugins.sections import TRAINED
from flowloom_registry.plugins.targets import is_file_target, load_attribute, load_target

INVALID: Any = object()
"""Stands for a value whose problems have been noted."""

USE = "use"
"""Key that names a component."""

_TRUST = "if you trust whoever wrote it, let it run with --trust (in Python: trust=True)"


class Binder:
    """Checks values against annotations and notes what is wrong.

    Args:
        catalog: where components are looked up.
        scope: what may fill a parameter that the recipe leaves out.
        problems: list to which problems are added.
        trusted: whether components that no plugin lists may be imported.
        stage: where the recipe stands among stages, which it may take parts of.
    """

    def __init__(
        self,
        catalog: Catalog,
        scope: Scope,
        problems: list[Problem],
        *,
        trusted: bool = True,
        stage: Stage | None = None,
    ) -> None:
        self.catalog = catalog
        self.scope = scope
        self.problems = problems
        self.trusted = trusted
        self.stage = stage
        self._kinds: dict[Any, str] | None = None

    def component(self, node: Node, kind: str, path: str, default: str | None = None) -> Any:
        """The plan of a component.

        Args:
            node: its name, a mapping with ``use`` and constructor arguments, or one with ``run``.
            kind: what it must be.
            path: dotted path, for messages.
            default: name that stands where a mapping has no ``use``.
        """
        entries: Mapping[Any, Entry] = {}
        name_at = node.at
        if _is_taken(node):
            return self.taken(node, kind, path)
        if isinstance(node, MapNode):
            entries = {key: entry for key, entry in node.entries.items() if key != USE}
            use = node.entries.get(USE)
            if use is None and default is None:
                return self._note(
                    node.at, path, f"a {kind} needs 'use: NAME'", f"'flowloom list {kind}' shows the names"
                )
            reference = use.node if use else ScalarNode(default, node.at)
            name_at = reference.at
        else:
            reference = node
        if not (isinstance(reference, ScalarNode) and isinstance(reference.value, str)):
            wanted = f"expected the name of a {kind}, or a mapping with 'use: NAME'"
            return self._note(name_at, path, f"{wanted}, got {given(reference)}")
        try:
            row = self.catalog.find(kind, reference.value, folder=name_at.folder)
            if not row.listed and not self.trusted:
                message = f"{reference.value!r} is code that no installed plugin lists"
                return self._note(name_at, path, message, _TRUST)
            target = self.catalog.load(row)
            signature = read_signature(target, self.known_names())
        except FlowloomError as error:
            return self._note(name_at, path, str(error))
        arguments, injected = self.arguments(
            entries, signature, getattr(target, "__name__", row.name), path, name_at
        )
        contract = self.catalog.contract(kind)
        said = _said(entries)
        return ComponentPlan(row, target, contract, signature, arguments, injected, path, node.at, said)

    def taken(self, node: Node, kind: str | None, path: str) -> Any:
        """The plan of a part of another run, or of all of it where no ``kind`` is asked for."""
        if not _is_taken(node):
            wanted = "expected a trained flow, as '{run: NAME}' with a stage or the folder of a run"
            return self._note(node.at, path, f"{wanted}, got {given(node)}")
        assert isinstance(node, MapNode)
        found = Taking(self.catalog, self.scope, self.stage).plan(node, kind, path)
        if isinstance(found, list):
            self.problems.extend(found)
            return INVALID
        return found

    def record(self, node: Node, target: Any, path: str) -> Any:
        """The plan of a dataclass written as a mapping of its fields."""
        if not isinstance(node, MapNode):
            return self._note(node.at, path, f"expected {describe(target)}, got {given(node)}")
        signature = read_signature(target, self.known_names())
        arguments, injected = self.arguments(node.entries, signature, target.__name__, path, node.at)
        said = _said(node.entries)
        return RecordPlan(target, signature, arguments, injected, path, node.at, said)

    def arguments(
        self, entries: Mapping[Any, Entry], signature: Signature, who: str, path: str, at: Position
    ) -> tuple[dict[str, Any], dict[str, Filling]]:
        """Checked arguments, and what fills parameters that are left out.

        Args:
            entries: what the recipe gives.
            signature: what the constructor takes.
            who: name of the constructor, for messages.
            path: dotted path of the component.
            at: where to point for something missing.
        """
        arguments: dict[str, Any] = {}
        for key, entry in entries.items():
            dotted = f"{path}.{key}" if path else str(key)
            if key in signature.parameters:
                arguments[key] = self.value(entry.node, signature.parameters[key].annotation, dotted)
            elif signature.rest is not NOTHING and isinstance(key, str):
                arguments[key] = self.value(entry.node, signature.rest, dotted)
            else:
                takes = ", ".join(signature.parameters) or "none"
                hint = join_hints(did_you_mean(str(key), signature.parameters), f"it takes: {takes}")
                self._note(entry.key_at, dotted, f"{who} takes no parameter {key!r}", hint)
        injected: dict[str, Filling] = {}
        for parameter in signature.parameters.values():
            if parameter.name in arguments:
                continue
            source = self.injection(parameter)
            if source is not None:
                injected[parameter.name] = source
            elif parameter.required:
                self._note_missing(parameter, who, path, at)
        return arguments, injected

    def injection(self, parameter: Parameter) -> Filling | None:
        """Where the rest of the recipe has what ``parameter`` asks for, or None."""
        for member in alternatives(parameter.annotation):
            if member is self._spec():
                return self.scope.spec()
            if member is self._trained():
                return self.scope.role(parameter.name)
            kind = self.kind_of(member)
            if kind is not None:
                return self.scope.component(parameter.name, kind)
            origin, arguments = typing.get_origin(member), typing.get_args(member)
            kind = self.kind_of(arguments[-1]) if arguments and origin in (*LISTS, *MAPPINGS) else None
            if kind is not None:
                find = self.scope.components if origin in LISTS else self.scope.mapping
                return find(parameter.name, kind)
        return None

    def known_names(self) -> dict[str, Any]:
        """Classes that annotations may mention without importing them at run time."""
        named = {contract.__name__: contract for contract in self._contracts()}
        told = {"Spec": self._spec(), "Trained": self._trained()}
        return {**named, **{name: value for name, value in told.items() if value is not None}}

    def kind_of(self, annotation: Any) -> str | None:
        """The kind whose contract ``annotation`` is (or is derived from), or None."""
        if not inspect.isclass(annotation) or annotation in SCALARS or annotation is object:
            return None
        contracts = self._contracts()
        for base in annotation.__mro__:
            if base in contracts and (base is annotation or not getattr(base, "_is_protocol", False)):
                return contracts[base]
        return None

    def value(self, node: Node, annotation: Any, path: str) -> Any:
        """The checked value of ``node``, which may be or hold plans, or `INVALID`."""
        members = alternatives(annotation)
        if len(members) == 1:
            return self._single(node, members[0], path)
        if isinstance(node, ScalarNode) and node.value is None and any(map(is_none, members)):
            return None
        tries: list[tuple[bool, int, Any]] = []
        for member in members:
            trial = self._trial()
            value = trial._single(node, member, path)
            if not trial.problems:
                # 3 in `float | int` is an int: an exact fit is better than a widened one.
                exact = not isinstance(node, ScalarNode) or type(value) is type(node.value)
                tries.append((not exact, len(tries), value))
        if tries:
            return min(tries, key=lambda one: one[:2])[2]
        real = [member for member in members if not is_none(member)]
        structured = [member for member in real if self._looks_like(node, member)]
        if len(structured) == 1:
            return self._single(node, structured[0], path)
        return self._refuse(node, annotation, path)

    def _single(self, node: Node, annotation: Any, path: str) -> Any:
        if annotation is Any or annotation is object or annotation is NOTHING:
            return plain(node)
        if annotation is self._trained():
            return self.taken(node, None, path)
        kind = self.kind_of(annotation)
        if kind is not None:
            return self._narrowed(self.component(node, kind, path), annotation, kind, path)
        if is_record(annotation):
            return self.record(node, annotation, path)
        origin = typing.get_origin(annotation) or annotation
        arguments = typing.get_args(annotation)
        if origin is tuple:
            return self._tuple(node, arguments, annotation, path)
        if origin in LISTS:
            values = self._list(node, arguments[0] if arguments else Any, annotation, path)
            return values if origin is list or values is INVALID else tuple(values)
        if origin in MAPPINGS:
            return self._mapping(node, arguments or (Any, Any), annotation, path)
        if not isinstance(node, ScalarNode):
            return self._refuse(node, annotation, path)
        if origin is collections.abc.Callable:
            return self._function(node, annotation, path)
        return self._scalar(node, annotation, path)

    def _function(self, node: ScalarNode, annotation: Any, path: str) -> Any:
        """The function that a recipe names; nobody else imports what a recipe says."""
        reference = node.value
        if not isinstance(reference, str) or ":" not in reference:
            return self._refuse(node, annotation, path)
        if not self.trusted:
            return self._note(node.at, path, f"{reference!r} is code that no installed plugin lists", _TRUST)
        location, _, name = reference.rpartition(":")
        target = f"{node.at.locate(location).resolve()}:{name}" if is_file_target(reference) else reference
        try:
            value = load_target(Row("function", name, target, "", Plugin("(target)"), listed=False))
        except FlowloomError as error:
            return self._note(node.at, path, str(error))
        if not callable(value):
            return self._note(node.at, path, f"{reference} is {value!r}, and no function")
        return ImportPlan(target, value)

    def _scalar(self, node: ScalarNode, annotation: Any, path: str) -> Any:
        value = node.value
        if is_none(annotation):
            return None if value is None else self._refuse(node, annotation, path)
        if type(value) is int and not -(2**63) <= value < 2**63:
            return self._note(node.at, path, f"an integer of {len(str(abs(value)))} digits is no setting")
        if annotation is float and type(value) is int:
            return float(value)
        if isinstance(value, float) and math.isnan(value):
            return self._note(node.at, path, "NaN is no setting")
        if annotation in SCALARS:
            return value if type(value) is annotation else self._refuse(node, annotation, path)
        if typing.get_origin(annotation) is Literal:
            for choice in typing.get_args(annotation):
                if type(choice) is type(value) and choice == value:
                    return choice
            return self._refuse(node, annotation, path)
        if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
            for member in annotation:
                if type(member.value) is type(value) and member.value == value:
                    return member
            return self._refuse(node, annotation, path)
        if inspect.isclass(annotation) and issubclass(annotation, pathlib.PurePath):
            return node.at.locate(value) if isinstance(value, str) else self._refuse(node, annotation, path)
        return self._note(
            node.at, path, f"a {describe(annotation)} cannot be written in a recipe, got {given(node)}"
        )

    def _tuple(self, node: Node, items: tuple[Any, ...], annotation: Any, path: str) -> Any:
        if not items:
            items = (Any, ...)
        if items[-1] is Ellipsis:
            values = self._list(node, items[0], annotation, path)
            return values if values is INVALID else tuple(values)
        if not isinstance(node, ListNode) or len(node.items) != len(items):
            return self._refuse(node, annotation, path)
        pairs = zip(node.items, items, strict=True)
        values = [self.value(item, kind, f"{path}[{i}]") for i, (item, kind) in enumerate(pairs)]
        return INVALID if any(value is INVALID for value in values) else tuple(values)

    def _list(self, node: Node, item: Any, annotation: Any, path: str) -> Any:
        if not isinstance(node, ListNode):
            return self._refuse(node, annotation, path)
        values = [self.value(one, item, f"{path}[{i}]") for i, one in enumerate(node.items)]
        return INVALID if any(value is INVALID for value in values) else values

    def _mapping(self, node: Node, types: tuple[Any, ...], annotation: Any, path: str) -> Any:
        if not isinstance(node, MapNode):
            return self._refuse(node, annotation, path)
        key_type, value_type = types
        # What `parts:` holds are the parts of a product, which the same parts of other sections fill.
        by_part = path.rpartition(".")[2] == "parts" and self.kind_of(value_type) is not None
        values: dict[Any, Any] = {}
        for key, entry in node.entries.items():
            dotted = f"{path}.{key}"
            checked_key = self.value(ScalarNode(key, entry.key_at), key_type, dotted)
            inner = within(self, self.scope.within(str(key))) if by_part else self
            value = inner.value(entry.node, value_type, dotted)
            if checked_key is not INVALID:
                values[checked_key] = value
        return INVALID if any(value is INVALID for value in values.values()) else values

    def _narrowed(self, plan: Any, annotation: Any, kind: str, path: str) -> Any:
        """A parameter may ask for one class of a kind, not just any."""
        if plan is INVALID or getattr(annotation, "_is_protocol", False):
            return plan
        if isinstance(plan, RunPlan):
            return replace(plan, contract=annotation)
        if inspect.isclass(plan.target) and not issubclass(plan.target, annotation):
            return self._note(
                plan.at, path, f"expected a {kind} of class {annotation.__name__}, got {plan.row.name!r}"
            )
        return plan

    def _looks_like(self, node: Node, annotation: Any) -> bool:
        """Whether a value has the outer form that the annotation asks for."""
        origin = typing.get_origin(annotation) or annotation
        component = self.kind_of(annotation) is not None or annotation is self._trained()
        if isinstance(node, MapNode):
            return component or is_record(annotation) or origin in MAPPINGS
        if isinstance(node, ListNode):
            return origin is tuple or origin in LISTS
        return (component or origin is collections.abc.Callable) and isinstance(node.value, str)

    def _note_missing(self, parameter: Parameter, who: str, path: str, at: Position) -> None:
        wanted = describe(parameter.annotation, self.kind_of)
        dotted = f"{path}.{parameter.name}" if path else parameter.name
        for member in alternatives(parameter.annotation):
            if member is self._spec():
                self._note(at, dotted, f"{who} needs the spec of the data", "add a section 'data:'")
                return
            if member is self._trained():
                hint = f"give it here: '{parameter.name}: {{run: NAME}}', a stage or the folder of a run"
                self._note(at, dotted, f"{who} needs a trained flow", hint)
                return
            kind = self.kind_of(member)
            if kind is not None:
                home = self.scope.home_of(parameter.name, kind)
                if home and home != self.scope.current and not self.scope.asked:
                    self.note_lacking(home)
                else:
                    self._note(at, dotted, f"{who} needs {wanted}", self._remedy(parameter.name, kind))
                return
        self._note(at, dotted, f"{who} needs {parameter.name!r} ({wanted})")

    def note_lacking(self, section: str) -> None:
        """Note that the recipe lacks a section that somebody cannot do without."""
        its = self.catalog.sections[section]
        hint = f"'flowloom list {its.kind}' shows what can stand there" if its.kind else ""
        at = self.scope.absent[section]
        self._note(at, section, f"a recipe needs a section '{section}:' ({its.meaning})", hint)

    def _remedy(self, parameter: str, kind: str) -> str:
        """How a recipe gives a component to a parameter that lacks it."""
        if self.scope.home_of(parameter, kind) not in (None, self.scope.current):
            return f"add a section '{parameter}:', or give it here"
        room = self.scope.room_for(kind)
        if room is None or room == self.scope.current:
            return f"give it here: '{parameter}: ...'"
        near = did_you_mean(parameter, self.scope.names.get(room, ()))
        return join_hints(f"add '{room}: {{{parameter}: ...}}', or give it here", near)

    def _refuse(self, node: Node, annotation: Any, path: str) -> Any:
        expected = describe(annotation, self.kind_of)
        return self._note(
            node.at, path, f"expected {expected}, got {given(node)}", _spelling_hint(node, annotation)
        )

    def _note(self, at: Position, path: str, message: str, hint: str = "") -> Any:
        self.problems.append(at.problem(path, message, hint))
        return INVALID

    def _trial(self) -> Binder:
        trial = Binder(self.catalog, self.scope, [], trusted=self.trusted, stage=self.stage)
        trial._kinds = self._contracts()
        return trial

    def _contracts(self) -> dict[Any, str]:
        if self._kinds is None:
            self._kinds = {}
            for kind in self.catalog.kinds:
                try:
                    self._kinds.setdefault(self.catalog.contract(kind), kind)
                except PluginError:
                    continue  # nothing that was imported can be annotated with it
        return self._kinds

    def _spec(self) -> Any:
        try:
            return self.catalog.spec_class()
        except PluginError:
            return None

    def _trained(self) -> Any:
        # Whatever asks for a trained flow has imported torch.
        return load_attribute(TRAINED) if "torch" in sys.modules else None


def _is_taken(node: Node) -> bool:
    """Whether a mapping names a run, and no component."""
    return isinstance(node, MapNode) and RUN in node.entries and USE not in node.entries


def _said(entries: Mapping[Any, Entry]) -> dict[str, Position]:
    return {str(key): entry.node.at for key, entry in entries.items()}


def within(binder: Binder, scope: Scope) -> Binder:
    """The same binder for another section."""
    other = Binder(binder.catalog, scope, binder.problems, trusted=binder.trusted, stage=binder.stage)
    other._kinds = binder._contracts()
    return other


def check_quietly(binder: Binder, node: Node, annotation: Any) -> Any:
    """The checked value, or `INVALID`; no problem is noted."""
    trial = binder._trial()
    value = trial.value(node, annotation, "")
    return INVALID if trial.problems else value


def _spelling_hint(node: Node, annotation: Any) -> str:
    if not isinstance(node, ScalarNode):
        return ""
    members, value = alternatives(annotation), node.value
    if isinstance(value, str):
        if bool in members and value.lower() in ("yes", "no", "on", "off", "y", "n"):
            return "booleans are written true and false"
        if int in members or float in members:
            try:
                number = float(value.replace(",", ".").replace("_", ""))
            except ValueError:
                return ""
            if not math.isfinite(number):
                return "numbers are finite"
            return f"write it as a plain number: {int(number) if number.is_integer() else number}"
        literals = [member for member in members if typing.get_origin(member) is Literal]
        return did_you_mean(value, [str(word) for one in literals for word in typing.get_args(one)])
    elif str in members and value is not None:
        return "put it in quotes to make it text"
    if int in members and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    return ""
