"""Core's own rows: they come in through the same door as everybody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry.markers import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add the components of ``flowloom`` itself."""
    reg.geometry("euclidean", "flowloom.geometry:Euclidean", summary="flat space", tags=("flat",))
