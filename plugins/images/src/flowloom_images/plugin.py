"""The images plugin: its rows are in `flowloom_images.rows`, a module each method or topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add data sets, views, backbones, the unit box, metrics, the renderer and recipes for images."""
    reg.gather("flowloom_images.rows")
