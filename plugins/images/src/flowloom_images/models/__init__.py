"""Backbones for images."""

from flowloom_images.models.unet import UNet

__all__ = ["UNet"]
