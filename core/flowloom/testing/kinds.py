"""Which kind a component is, and which checks there are for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import nn

from flowloom.errors import FlowloomError
from flowloom.kinds import KINDS, Kind
from flowloom.testing.laws import Check, Law

_BY_NAME = {kind.name: kind for kind in KINDS}


def kind_named(kind: str | Kind) -> Kind:
    """The kind of that name in core's table; a kind itself (a plugin's, say) is handed back.

    Raises:
        ValueError: core has no kind of that name.
    """
    if isinstance(kind, Kind):
        return kind
    if kind not in _BY_NAME:
        raise ValueError(
            f"there is no kind '{kind}' in core; kinds: {', '.join(_BY_NAME)} (hand over a Kind for another)"
        )
    return _BY_NAME[kind]


def kind_of(thing: object, kinds: Iterable[Kind] = KINDS) -> Kind | None:
    """The kind of an instance, None where it is no component.

    Args:
        thing: what to judge.
        kinds: kinds it may be of.

    >>> import flowloom as fl
    >>> [kind_of(fl.geometry.Sphere(2)).name, kind_of(fl.solvers.Euler(3)).name, kind_of("euler")]
    ['geometry', 'solver', None]
    """
    model: Kind | None = None
    for kind in kinds:
        contract = contract_of(kind)
        if kind.name == "model":
            model = kind
        elif isinstance(thing, contract):
            return kind
    # Objectives and codecs are modules too, so any other module is a network only after all else.
    return model if isinstance(thing, nn.Module) else None


def contract_of(kind: Kind) -> type:
    """The contract of a kind, imported now."""
    module, _, name = kind.contract.partition(":")
    found: type = getattr(import_module(module), name)
    return found


def all_checks(kind: str | Kind) -> list[Check]:
    """Every check of a kind, in the order of its file; none where the kind has no laws.

    Raises:
        ValueError: core has no kind of that name.
        FlowloomError: the module of the laws cannot be imported, has none, or has a check that is not marked.
    """
    kind = kind_named(kind)
    if kind.laws is None:
        return []
    checks: list[Check] = []
    for name, value in vars(_laws(kind, kind.laws)).items():
        if not name.startswith("check_"):
            continue
        if hasattr(value, "law"):
            checks.append(value)
        elif getattr(value, "__module__", None) == kind.laws:
            raise FlowloomError(
                f"laws of kind '{kind.name}': {kind.laws}.{name} is not marked, and would never be asked; "
                'write @law("what must hold") over it'
            )
    if not checks:
        raise FlowloomError(
            f"laws of kind '{kind.name}': {kind.laws} has no function check_...(make, context) "
            'marked with @law("what must hold")'
        )
    return checks


def _laws(kind: Kind, module: str) -> ModuleType:
    try:
        return import_module(module)
    except Exception as error:  # a plugin's module may raise anything
        line = " ".join(str(error).split())
        raise FlowloomError(
            f"laws of kind '{kind.name}': importing {module} raised {type(error).__name__}: {line}"
        ) from error


def checks_for(kind: str | Kind, instance: Any, *, slow: bool = False) -> list[Check]:
    """The checks of a kind that apply to an instance, by the capabilities it declares."""
    return [
        check
        for check in all_checks(kind)
        if law_of(check).when(instance) and (slow or not law_of(check).slow)
    ]


def law_of(check: Callable[..., None]) -> Law:
    """The law that a check tests."""
    return check.law  # type: ignore[attr-defined]
