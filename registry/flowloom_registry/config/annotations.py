"""Type annotations, taken apart: what they mean to a recipe and how to name them to a user."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import pathlib
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, Union

SCALARS: tuple[type, ...] = (bool, int, float, str)
LISTS: tuple[Any, ...] = (
    list,
    collections.abc.Sequence,
    collections.abc.Iterable,
    collections.abc.Collection,
)
MAPPINGS: tuple[Any, ...] = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def strip(annotation: Any) -> Any:
    """The annotation without ``Annotated``, ``Final``, ``NewType`` and alias wrappings."""
    while True:
        if typing.get_origin(annotation) in (typing.Annotated, typing.Final, typing.ClassVar):
            annotation = typing.get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif isinstance(annotation, typing.TypeVar):
            annotation = annotation.__bound__ or Any
        else:
            return annotation


def alternatives(annotation: Any) -> list[Any]:
    """The members of a union (nested ones included), or the annotation alone."""
    annotation = strip(annotation)
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return [one for member in typing.get_args(annotation) for one in alternatives(member)]
    return [annotation]


def is_none(annotation: Any) -> bool:
    """True for None as an annotation."""
    return annotation is None or annotation is type(None)


def is_record(annotation: Any) -> bool:
    """True for a dataclass, which a recipe writes as a mapping of its fields."""
    return inspect.isclass(annotation) and dataclasses.is_dataclass(annotation)


def describe(annotation: Any, kind_of: Callable[[Any], str | None] = lambda _: None) -> str:
    """The annotation in a user's words: ``float | null``, ``list of int``, ``a geometry``.

    Args:
        annotation: what to describe.
        kind_of: tells the component kind that a contract class stands for.
    """
    members = alternatives(annotation)
    if len(members) > 1:
        return " | ".join(dict.fromkeys(describe(member, kind_of) for member in members))
    annotation = members[0]
    if is_none(annotation):
        return "null"
    if annotation is Any or annotation is object:
        return "any value"
    kind = kind_of(annotation)
    if kind is not None:
        return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " | ".join(_literal(value) for value in arguments)
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        return " | ".join(_literal(member.value) for member in annotation)
    base = origin or annotation
    if base is tuple:
        if not arguments:
            return "list"
        if arguments[-1] is Ellipsis:
            return f"list of {describe(arguments[0], kind_of)}"
        return f"[{', '.join(describe(item, kind_of) for item in arguments)}]"
    if base in LISTS:
        return f"list of {describe(arguments[0], kind_of)}" if arguments else "list"
    if base in MAPPINGS:
        return f"mapping to {describe(arguments[1], kind_of)}" if arguments else "mapping"
    if base is collections.abc.Callable:
        return "a function (module:name)"
    if inspect.isclass(base) and issubclass(base, pathlib.PurePath):
        return "path"
    if is_record(annotation):
        return f"mapping ({', '.join(field.name for field in dataclasses.fields(annotation) if field.init)})"
    return getattr(base, "__name__", str(base))


def _literal(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
