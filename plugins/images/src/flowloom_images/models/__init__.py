"""Backbones for images."""

from flowloom_images.models.classifier import ImageClassifier
from flowloom_images.models.ddpm_plus_plus import DDPMPlusPlus
from flowloom_images.models.dit import DiT
from flowloom_images.models.dit_critic import DiTCritic
from flowloom_images.models.edm2_unet import EDM2UNet
from flowloom_images.models.twin_unet import TwinUNet
from flowloom_images.models.unet import UNet

__all__ = ["DDPMPlusPlus", "DiT", "DiTCritic", "EDM2UNet", "ImageClassifier", "TwinUNet", "UNet"]
