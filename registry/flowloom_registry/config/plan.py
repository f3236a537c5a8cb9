"""A recipe that was checked and not yet built: which objects, from which arguments, in which order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flowloom_registry.config.nodes import Position
from flowloom_registry.config.scope import Filling
from flowloom_registry.config.signature import Signature
from flowloom_registry.config.taken import RunPlan
from flowloom_registry.plugins.rows import Row


@dataclass(frozen=True)
class ComponentPlan:
    """A component to be built.

    Args:
        row: where it comes from.
        target: its class or factory, already imported.
        contract: what the object must be.
        signature: what ``target`` takes.
        arguments: checked values from the recipe; they may hold further plans.
        injected: parameters filled from elsewhere.
        path: dotted path in the recipe.
        at: where it was written.
        said: where each argument was.
    """

    row: Row
    target: Any
    contract: Any
    signature: Signature
    arguments: Mapping[str, Any]
    injected: Mapping[str, Filling]
    path: str
    at: Position
    said: Mapping[str, Position] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordPlan:
    """A dataclass to be made from a mapping.

    Args:
        target: the dataclass.
        signature: its fields.
        arguments: checked values; they may hold further plans.
        injected: as for a component.
        path: dotted path in the recipe.
        at: where it was written.
        said: as for a component.
    """

    target: Any
    signature: Signature
    arguments: Mapping[str, Any]
    injected: Mapping[str, Filling]
    path: str
    at: Position
    said: Mapping[str, Position] = field(default_factory=dict)


@dataclass(frozen=True)
class ImportPlan:
    """A function that a recipe names, for a parameter annotated with ``Callable``.

    Args:
        target: ``module:name``, or ``/folder/file.py:name``.
        value: the function, already imported.
    """

    target: str
    value: Any


Plan: TypeAlias = "ComponentPlan | RecordPlan"
AnyPlan: TypeAlias = "ComponentPlan | RecordPlan | RunPlan"


@dataclass(frozen=True)
class RecipePlan:
    """Every section of a recipe, checked.

    Args:
        sections: section -> plan, list of plans or plain value, in the order of the sections.
        places: where each section was written.
        file: the recipe's file.
        order: sections that hold plans, each after those that it needs.
        needs: section -> those that it needs, each with the dotted path of a parameter that asks for it.
        left_open: sections that are chosen once something is built; see `Section.chosen`.
    """

    sections: Mapping[str, Any]
    places: Mapping[str, Position]
    file: str
    order: tuple[str, ...] = ()
    needs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    left_open: tuple[str, ...] = ()


def place_of(plan: Plan, message: str) -> Position:
    """Where what a message complains of was written: at the argument, where it names one that was given.

    Values of one section may come from several files and from ``--set``; the section as a whole stands where
    the last of them did.
    """
    named = [name for name in plan.said if re.search(rf"(?<![\w'-]){re.escape(name)}(?![\w'-])", message)]
    return plan.said[named[0]] if len(named) == 1 else plan.at


def plans_in(value: Any) -> Iterator[AnyPlan]:
    """Every plan within a checked value, outer ones first."""
    if isinstance(value, RunPlan):
        yield value
    if isinstance(value, (ComponentPlan, RecordPlan)):
        yield value
        value = value.arguments
    if isinstance(value, Mapping):
        for item in value.values():
            yield from plans_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from plans_in(item)
