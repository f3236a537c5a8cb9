"""Where a kind of component, or a record, stands in a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowloom_registry.plugins.catalog import Catalog
    from flowloom_registry.plugins.sections import Section
    from flowloom_registry.reference.names import Definition

_FORMS = {"components": "{}: [NAME ...]", "named": "{}: {{ROLE: NAME}}"}


def sections_holding(found: Catalog, kind: str) -> list[Section]:
    """The sections whose value is a component (or components) of a kind."""
    return [section for section in found.sections.values() if section.kind == kind]


def places_of_kind(found: Catalog, kind: str) -> list[str]:
    """Where recipes name a component of a kind: ``solver: NAME``, ``train.optimizer: NAME``.

    A kind without a section of its own is looked for in the records, and then in the parameters of all
    components, which are imported for it: ``objective: {use: adversarial-flow, critic: NAME}``.
    """
    own = [_FORMS.get(one.form, "{}: NAME").format(one.name) for one in sections_holding(found, kind)]
    if own:
        return own
    contract = found.contract(kind)
    places = [f"{place}: NAME" for place, held in _all_fields(found) if held is contract]
    return places or list(_parameters_that_are(found, contract))


def _parameters_that_are(found: Catalog, contract: Any) -> Iterator[str]:
    import typing

    from flowloom.errors import FlowloomError
    from flowloom_registry.config.annotations import alternatives
    from flowloom_registry.config.signature import read_signature

    for row in found.rows:
        try:
            parameters = read_signature(found.load(row)).parameters.values()
        except FlowloomError:  # what it needs is not installed
            continue
        for parameter in parameters:
            for member in alternatives(parameter.annotation):
                if contract in (member, *typing.get_args(member)):
                    yield f"{row.kind}: {{use: {row.name}, {parameter.name}: NAME}}"


def places_of_record(found: Catalog, record: Any) -> list[str]:
    """Where recipes write a record: ``train``, ``train.turns.NAME``."""
    from flowloom_registry.plugins.targets import load_attribute

    tops = [
        one.name for one in found.sections.values() if one.target and load_attribute(one.target) is record
    ]
    return tops + [place for place, held in _all_fields(found) if held is record]


def _all_fields(found: Catalog) -> Iterator[tuple[str, Any]]:
    from flowloom_registry.plugins.targets import load_attribute

    for section in found.sections.values():
        if section.target is not None:
            yield from _fields(section.name, load_attribute(section.target))


def _fields(place: str, record: Any) -> Iterator[tuple[str, Any]]:
    import typing

    from flowloom_registry.config.annotations import MAPPINGS, alternatives, is_record
    from flowloom_registry.config.signature import read_signature

    for parameter in read_signature(record).parameters.values():
        for member in alternatives(parameter.annotation):
            inside, where = member, f"{place}.{parameter.name}"
            if typing.get_origin(member) in MAPPINGS and len(typing.get_args(member)) == 2:
                inside, where = typing.get_args(member)[1], f"{where}.NAME"
            yield where, inside
            if is_record(inside):
                yield from _fields(where, inside)


def laws_of(module: str | None) -> Mapping[str, str]:
    """Name of every law of a module, and the law in words; nothing is imported but the module's package."""
    import importlib.util
    from pathlib import Path

    from flowloom_registry.reference.names import defined_in

    spec = importlib.util.find_spec(module) if module else None
    if module is None or spec is None or spec.origin is None:
        return {}
    found = defined_in(module, Path(spec.origin))
    return {name: _in_words(one) for name, one in found.items() if name.startswith("check_")}


def _in_words(check: Definition) -> str:
    """What ``@law("...")`` says, and what the docstring adds to it."""
    import ast

    marks = check.node.decorator_list if isinstance(check.node, ast.FunctionDef) else []
    said = [
        mark.args[0].value
        for mark in marks
        if isinstance(mark, ast.Call) and mark.args and isinstance(mark.args[0], ast.Constant)
    ]
    doc = " ".join(check.doc.split())
    law = str(said[0]) if said else ""
    return f"{law}. {doc}" if law and doc else law or doc
