"""flowloom: flow matching and its relatives on every kind of data.

The names below load on first use, so that importing the package costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MODULES = (
    "codecs",
    "conditions",
    "couplings",
    "data",
    "divergence",
    "errors",
    "fields",
    "geometry",
    "guidance",
    "likelihood",
    "metrics",
    "models",
    "objectives",
    "paths",
    "renderers",
    "schedules",
    "scores",
    "solvers",
    "sources",
    "spec",
    "state",
    "tasks",
    "testing",
    "times",
    "trackers",
    "training",
    "weights",
)
_NAMES = {"Flow": "flowloom.flow", "Spec": "flowloom.spec", "Condition": "flowloom.spec"}

if TYPE_CHECKING:
    from flowloom import (
        codecs,
        conditions,
        couplings,
        data,
        divergence,
        errors,
        fields,
        geometry,
        guidance,
        likelihood,
        metrics,
        models,
        objectives,
        paths,
        renderers,
        schedules,
        scores,
        solvers,
        sources,
        spec,
        state,
        tasks,
        testing,
        times,
        trackers,
        training,
        weights,
    )
    from flowloom.flow import Flow
    from flowloom.spec import Condition, Spec

__all__ = [
    "Condition",
    "Flow",
    "Spec",
    "codecs",
    "conditions",
    "couplings",
    "data",
    "divergence",
    "errors",
    "fields",
    "geometry",
    "guidance",
    "likelihood",
    "metrics",
    "models",
    "objectives",
    "paths",
    "renderers",
    "schedules",
    "scores",
    "solvers",
    "sources",
    "spec",
    "state",
    "tasks",
    "testing",
    "times",
    "trackers",
    "training",
    "weights",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"flowloom.{name}")
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'flowloom' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
