"""Views of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    for name, target, summary, example in (
        ("flip", "Flip", "mirror images, in training only", {}),
        ("crop", "Crop", "shifts by a few pixels, in training only", {"padding": 2}),
        ("blur", "Blur", "a blurred and noisy image as a condition", {"width": 1.0}),
        ("resize", "Resize", "images of another size, bicubic", {"size": 12}),
        ("hole", "Hole", "all but a rectangle is given, for in-painting", {}),
    ):
        reg.add(
            "view",
            name,
            f"flowloom_images.views:{target}",
            summary=summary,
            example=example,
            data="digits",
        )
