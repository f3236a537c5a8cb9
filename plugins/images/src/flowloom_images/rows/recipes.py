"""Recipes for images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_images:recipes"
    reg.recipe(
        "digits", f"{home}/digits.yaml", summary="class-conditional flow on real digits, two minutes on CPU"
    )
    reg.recipe(
        "digits-small", f"{home}/digits-small.yaml", summary="the same in seconds, to see that all works"
    )
    reg.recipe("mnist-unet", f"{home}/mnist-unet.yaml", summary="U-Net on MNIST for one GPU")
    reg.recipe(
        "cifar10-unet",
        f"{home}/cifar10-unet.yaml",
        summary="Flow Matching on CIFAR-10 at the paper's size",
        paper="2210.02747",
    )
    reg.recipe(
        "imagenet64-adm",
        f"{home}/imagenet64-adm.yaml",
        summary="Flow Matching on ImageNet-64 with the ADM U-Net at the paper's size",
        paper="2210.02747",
    )
    reg.recipe(
        "imagenet-sit-xl-2",
        f"{home}/imagenet-sit-xl-2.yaml",
        summary="SiT-XL/2 on a folder of ImageNet images, at the paper's size",
        paper="2401.08740",
    )
