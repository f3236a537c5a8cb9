"""The sequences plugin: its rows are in `flowloom_sequences.rows`, a module each topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add data sets, simplex parts, backbones, solvers, metrics, the renderer and recipes for sequences."""
    reg.gather("flowloom_sequences.rows")
