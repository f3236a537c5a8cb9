"""How images are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add it."""
    reg.add(
        "renderer",
        "image-grid",
        "flowloom_images.renderer:ImageGrid",
        summary="PNG grids of samples by class, and noise-to-data strips",
        example={"columns": 2, "rows": 2},
        data="digits",
    )
