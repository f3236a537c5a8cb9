"""Which kind a component is, and which checks there are for it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

from flowloom.testing.laws import Check, Law

# Order matters: objectives and codecs are modules too, so `model` comes last.
_CONTRACTS: dict[str, str] = {
    "dataset": "flowloom.data:Dataset",
    "codec": "flowloom.codecs:Codec",
    "geometry": "flowloom.geometry:Geometry",
    "source": "flowloom.sources:Source",
    "coupling": "flowloom.couplings:Coupling",
    "schedule": "flowloom.schedules:Schedule",
    "times": "flowloom.times:TimeLaw",
    "weight": "flowloom.weights:Weight",
    "path": "flowloom.paths:Path",
    "objective": "flowloom.objectives:Objective",
    "guidance": "flowloom.guidance:Guidance",
    "solver": "flowloom.solvers:Solver",
    "metric": "flowloom.metrics:Metric",
    "score": "flowloom.scores:Score",
    "renderer": "flowloom.renderers:Renderer",
}

KINDS: tuple[str, ...] = (*_CONTRACTS, "model")
"""Kinds that have checks."""


def kind_of(thing: object) -> str | None:
    """The kind of an instance, None where it is no component.

    >>> import flowloom as fl
    >>> kind_of(fl.geometry.Sphere(2)), kind_of(fl.solvers.Euler(3)), kind_of("euler")
    ('geometry', 'solver', None)
    """
    for kind, target in _CONTRACTS.items():
        module, name = target.split(":")
        if isinstance(thing, getattr(import_module(module), name)):
            return kind
    return "model" if isinstance(thing, nn.Module) else None


def all_checks(kind: str) -> list[Check]:
    """Every check of a kind, in the order of its file.

    Raises:
        ValueError: there are no checks for this kind.
    """
    if kind not in KINDS:
        raise ValueError(f"there are no checks for kind '{kind}'; kinds: {', '.join(KINDS)}")
    module = import_module(f"flowloom.testing.checks.{kind}")
    return [
        value for name, value in vars(module).items() if name.startswith("check_") and hasattr(value, "law")
    ]


def checks_for(kind: str, instance: Any, *, slow: bool = False) -> list[Check]:
    """The checks of a kind that apply to an instance, by the capabilities it declares."""
    return [
        check
        for check in all_checks(kind)
        if law_of(check).when(instance) and (slow or not law_of(check).slow)
    ]


def law_of(check: Callable[..., None]) -> Law:
    """The law that a check tests."""
    return check.law  # type: ignore[attr-defined]
