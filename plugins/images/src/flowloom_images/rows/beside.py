"""A DiT that reads images beside its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add it."""
    reg.add(
        "model",
        "dit-beside",
        "flowloom_images.models.dit_beside:DiTBeside",
        summary="a diffusion transformer that reads further images as channels",
        example={"width": 16, "depth": 1, "heads": 2},
        data="digits",
        paper="2212.09748",
    )
