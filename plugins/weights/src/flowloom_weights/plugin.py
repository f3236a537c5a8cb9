"""The plugin of networks as data: its rows are in `flowloom_weights.rows`, a module each method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add zoos of networks, what makes vectors of them, and their recipes."""
    reg.gather("flowloom_weights.rows")
