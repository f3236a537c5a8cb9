"""Backbones, codecs and spaces of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "model",
        "image-classifier",
        "flowloom_images.models:ImageClassifier",
        summary="small convolutional classifier with features: judge of samples, guide of flows",
        example={"width": 8, "dim": 16, "timed": True},
        tags=("convolution", "classes"),
        data="digits",
    )
    reg.add(
        "model",
        "unet",
        "flowloom_images.models:UNet",
        summary="U-Net of the ADM family: scale-shift residual blocks, attention, skips",
        example={"width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [4]},
        paper="2105.05233",
        tags=("convolution",),
        data="digits",
    )
    reg.add(
        "model",
        "ddpm-plus-plus",
        "flowloom_images.models:DDPMPlusPlus",
        summary="DDPM++ with EDM's settings: added context, halved sums, attention of one head",
        example={"width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [4]},
        paper="2011.13456",
        tags=("convolution",),
        data="digits",
    )
    reg.add(
        "model",
        "edm2-unet",
        "flowloom_images.models:EDM2UNet",
        summary="U-Net of EDM2: unit weights, sums and features that keep their magnitude",
        example={"width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [4], "head_width": 8},
        paper="2312.02696",
        tags=("convolution",),
        data="digits",
    )
    reg.add(
        "model",
        "twin-unet",
        "flowloom_images.models:TwinUNet",
        summary="two U-Nets side by side: of states, and of velocities at them",
        example={"width": 16, "multipliers": [1, 2], "blocks": 1, "attention": [4], "ratio": 2},
        paper="2502.17436",
        tags=("convolution", "nested"),
        data="digits",
        known_failures={
            "check_every_parameter_learns": "the mean velocity is that of y = 0, where the first weights "
            "of y are not asked"
        },
    )
    reg.add(
        "model",
        "dit",
        "flowloom_images.models:DiT",
        summary="diffusion transformer with adaLN-Zero blocks, sizes S, B, L, XL",
        example={"width": 32, "depth": 2, "heads": 2},
        paper="2212.09748",
        tags=("transformer", "sit"),
        data="digits",
    )
    reg.add(
        "critic",
        "dit-critic",
        "flowloom_images.models:DiTCritic",
        summary="the blocks of a DiT with a token that judges the image",
        example={"width": 32, "depth": 2, "heads": 2},
        paper="2511.22475",
        data="digits",
    )
