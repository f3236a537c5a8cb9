"""The trajectories plugin: its rows are in `flowloom_trajectories.rows`, a module each topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add data, backbones, judges, baselines and recipes of motion and time series."""
    reg.gather("flowloom_trajectories.rows")
