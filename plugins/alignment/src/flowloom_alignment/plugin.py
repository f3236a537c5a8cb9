"""The alignment plugin: its rows are in `flowloom_alignment.rows`, a module each method or topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add methods that fine-tune, what they need, and their recipes."""
    reg.gather("flowloom_alignment.rows")
