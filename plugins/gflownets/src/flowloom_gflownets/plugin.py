"""The GFlowNets plugin: its rows are in `flowloom_gflownets.rows`, a module each method or topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add the environments, what walks in them, the methods, and their recipes."""
    reg.gather("flowloom_gflownets.rows")
