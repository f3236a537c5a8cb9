"""The rows of the images plugin: words only, nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add data sets, backbones, the unit box, metrics, the renderer and recipes for images."""
    reg.dataset(
        "digits",
        "flowloom_images.data:Digits",
        summary="1,797 real handwritten digits of 8 x 8 pixels (scikit-learn)",
    )
    reg.model(
        "unet",
        "flowloom_images.models:UNet",
        summary="U-Net of the ADM family: scale-shift residual blocks, attention, skips",
        example={"width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [4]},
        paper="2105.05233",
    )
