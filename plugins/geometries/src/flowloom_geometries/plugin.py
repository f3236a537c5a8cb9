"""The geometries plugin: its rows are in `flowloom_geometries.rows`, a module each topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add manifolds, the premetric path, data on manifolds, a sharp network, a metric and recipes."""
    reg.gather("flowloom_geometries.rows")
