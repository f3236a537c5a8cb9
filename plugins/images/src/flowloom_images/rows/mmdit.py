"""The transformer of Stable Diffusion 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add it."""
    reg.add(
        "model",
        "mmdit",
        "flowloom_images.models.mmdit:MMDiT",
        summary="image and text tokens in one attention (SD3 medium, SD3.5 medium)",
        example={
            "width": 32,
            "depth": 2,
            "heads": 2,
            "dual": 1,
            "qk_norm": True,
            "text": None,
            "pooled": None,
        },
        paper="2403.03206",
        tags=("transformer", "text"),
        data="digits",
    )
