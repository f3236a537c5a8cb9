"""Data sets of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_images.data"
    reg.add(
        "dataset",
        "digits",
        f"{home}:Digits",
        summary="1,797 real handwritten digits of 8 x 8 pixels (scikit-learn)",
    )
    reg.add(
        "dataset",
        "mnist",
        f"{home}:MNIST",
        summary="70,000 handwritten digits of 28 x 28 pixels",
        tags=("files",),
    )
    reg.add(
        "dataset",
        "fashion-mnist",
        f"{home}:FashionMNIST",
        summary="70,000 pictures of clothing of 28 x 28 pixels",
        paper="1708.07747",
        tags=("files",),
    )
    reg.add(
        "dataset",
        "cifar10",
        f"{home}:CIFAR10",
        summary="60,000 photographs of 32 x 32 pixels in ten classes",
        tags=("files",),
    )
    reg.add(
        "dataset",
        "image-folder",
        f"{home}:ImageFolder",
        summary="a folder of image files, subfolders as classes",
        example={"path": "images", "size": 8},
        tags=("files",),
    )
