"""What a constructor takes, read from its signature and type hints: a component's signature is its schema."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flowloom_registry.errors import PluginError

NOTHING: Any = inspect.Parameter.empty
"""Stands for no default."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a constructor.

    Args:
        name: its name.
        annotation: its type; ``Any`` where it has none, or none that can be read.
        default: its default, or `NOTHING`.
    """

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        """True where there is no default."""
        return self.default is NOTHING


@dataclass(frozen=True)
class Signature:
    """All parameters of a constructor.

    Args:
        parameters: by name, in order.
        rest: annotation of ``**kwargs``, or `NOTHING` where there is none.
    """

    parameters: Mapping[str, Parameter]
    rest: Any = NOTHING


def read_signature(target: Callable[..., Any], names: Mapping[str, Any] | None = None) -> Signature:
    """Read what ``target`` takes.

    Args:
        target: class or factory.
        names: classes that annotations may mention without importing them at run time (under
            ``TYPE_CHECKING``).

    Raises:
        PluginError: it has no signature that Python can read.
    """
    try:
        written = _written(target)
    except TypeError:  # what cannot be hashed
        written = _Written(target)
    parameters: dict[str, Parameter] = {}
    rest: Any = NOTHING
    for parameter in written.signature.parameters.values():
        annotation = written.annotation(parameter, names or {})
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            rest = annotation
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            default = _default(target, parameter)
            parameters[parameter.name] = Parameter(parameter.name, annotation, default)
    return Signature(parameters, rest)


class _Written:
    """Signature and resolved annotations; one that cannot be resolved does not spoil the others."""

    def __init__(self, target: Callable[..., Any]) -> None:
        try:
            self.signature = inspect.signature(target)
        except (TypeError, ValueError) as error:
            raise PluginError(f"{target!r} has no readable signature: {error}") from error
        owner = _annotated_function(target)
        self.scope: Mapping[str, Any] = getattr(owner, "__globals__", {})
        self.fields = _field_scopes(target)
        try:
            self.hints = typing.get_type_hints(target if self.fields and inspect.isclass(target) else owner)
        except Exception:
            self.hints = {}

    def annotation(self, parameter: inspect.Parameter, names: Mapping[str, Any]) -> Any:
        if parameter.name in self.hints:
            return self.hints[parameter.name]
        annotation = parameter.annotation
        if annotation is NOTHING:
            return Any
        if not isinstance(annotation, str):
            return annotation
        scope = self.fields.get(parameter.name, self.scope)
        try:
            return eval(annotation, {**names, **vars(typing), **scope})
        except Exception:
            return Any


# A study checks hundreds of recipes, each of dozens of constructors that never change.
_written = functools.lru_cache(maxsize=4096)(_Written)


def _annotated_function(target: Any) -> Any:
    if not inspect.isclass(target):
        return inspect.unwrap(target)
    if "__init__" in vars(target) or target.__init__ is not object.__init__:
        return target.__init__
    return target.__new__


def _field_scopes(target: Any) -> dict[str, dict[str, Any]]:
    """For a dataclass with a generated constructor: field -> names of the module that declares it."""
    if not (inspect.isclass(target) and dataclasses.is_dataclass(target)):
        return {}
    code = getattr(target.__init__, "__code__", None)
    if code is None or code.co_filename != "<string>":
        return {}  # a constructor written by hand
    scopes: dict[str, dict[str, Any]] = {}
    for base in reversed(target.__mro__):
        module = sys.modules.get(base.__module__)
        for name in inspect.get_annotations(base):
            scopes[name] = vars(module) if module else {}
    return scopes


def _default(target: Any, parameter: inspect.Parameter) -> Any:
    if inspect.isclass(target) and dataclasses.is_dataclass(target):
        for field in dataclasses.fields(target):
            if field.name == parameter.name and field.default_factory is not dataclasses.MISSING:
                return field.default_factory()
    return parameter.default
