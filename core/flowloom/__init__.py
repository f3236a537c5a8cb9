"""flowloom: flow matching and its relatives on every kind of data.

Modules and the names below load on first use, so that importing the package costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {"Condition": "spec", "Flow": "flow", "Spec": "spec"}

if TYPE_CHECKING:
    # For type checkers alone: at run time the folder itself is the list of modules.
    from flowloom import baselines as baselines
    from flowloom import clashes as clashes
    from flowloom import codecs as codecs
    from flowloom import conditioning as conditioning
    from flowloom import conditions as conditions
    from flowloom import couplings as couplings
    from flowloom import data as data
    from flowloom import defaults as defaults
    from flowloom import digits as digits
    from flowloom import divergence as divergence
    from flowloom import draw as draw
    from flowloom import energies as energies
    from flowloom import errors as errors
    from flowloom import fields as fields
    from flowloom import flow as flow
    from flowloom import geometry as geometry
    from flowloom import guidance as guidance
    from flowloom import kinds as kinds
    from flowloom import layout as layout
    from flowloom import libraries as libraries
    from flowloom import likelihood as likelihood
    from flowloom import metrics as metrics
    from flowloom import models as models
    from flowloom import module_names as module_names
    from flowloom import objectives as objectives
    from flowloom import parts as parts
    from flowloom import paths as paths
    from flowloom import renderers as renderers
    from flowloom import schedules as schedules
    from flowloom import scores as scores
    from flowloom import seeds as seeds
    from flowloom import solvers as solvers
    from flowloom import sources as sources
    from flowloom import spec as spec
    from flowloom import state as state
    from flowloom import symmetries as symmetries
    from flowloom import tasks as tasks
    from flowloom import testing as testing
    from flowloom import times as times
    from flowloom import trackers as trackers
    from flowloom import trained as trained
    from flowloom import training as training
    from flowloom import views as views
    from flowloom import weights as weights
    from flowloom.flow import Flow as Flow
    from flowloom.spec import Condition as Condition
    from flowloom.spec import Spec as Spec


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"flowloom.{_HOMES[name]}"), name)
    if not name.startswith("_"):
        try:
            return import_module(f"flowloom.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"flowloom.{name}":
                raise
    raise AttributeError(f"module 'flowloom' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__", *(module.name for module in iter_modules(__path__))])
