"""The molecules plugin: its rows are in `flowloom_molecules.rows`, a module each topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add data sets, couplings, networks, metrics, renderers and recipes for molecules and crystals."""
    reg.gather("flowloom_molecules.rows")
