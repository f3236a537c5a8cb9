"""Plugins, catalog and recipes of flowloom: the half that imports no torch.

A plugin needs only the marker ``hookimpl`` from here; everything else is loaded on first use, so that
listing components stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowloom_registry.config.build import build
    from flowloom_registry.config.example import build_component, build_example
    from flowloom_registry.config.recipe import load_recipe
    from flowloom_registry.markers import hookimpl, hookspec
    from flowloom_registry.plugins.discovery import catalog, discover
    from flowloom_registry.runs.load import load
    from flowloom_registry.studies.experiment import Experiment

__all__ = [
    "Experiment",
    "build",
    "build_component",
    "build_example",
    "catalog",
    "discover",
    "hookimpl",
    "hookspec",
    "load",
    "load_recipe",
]

_HOMES = {
    "Experiment": "flowloom_registry.studies.experiment",
    "build": "flowloom_registry.config.build",
    "build_component": "flowloom_registry.config.example",
    "build_example": "flowloom_registry.config.example",
    "catalog": "flowloom_registry.plugins.discovery",
    "discover": "flowloom_registry.plugins.discovery",
    "hookimpl": "flowloom_registry.markers",
    "hookspec": "flowloom_registry.markers",
    "load": "flowloom_registry.runs.load",
    "load_recipe": "flowloom_registry.config.recipe",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value  # a later import of a submodule of the same name must not win
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
