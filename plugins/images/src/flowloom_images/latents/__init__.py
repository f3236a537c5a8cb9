"""Images in the latent space of an autoencoder: its network, its loss, and the codec that it becomes."""

from flowloom_images.latents.base import Autoencoder, Posterior
from flowloom_images.latents.codec import LearnedCodec
from flowloom_images.latents.kl import KLAutoencoder
from flowloom_images.latents.objective import AutoencoderLoss

__all__ = ["Autoencoder", "AutoencoderLoss", "KLAutoencoder", "LearnedCodec", "Posterior"]
