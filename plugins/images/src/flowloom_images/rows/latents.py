"""Flows in the latent space of an autoencoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_images.latents", "flowloom_images:recipes"
    reg.add(
        "model",
        "kl-autoencoder",
        f"{home}:KLAutoencoder",
        summary="the autoencoder of latent diffusion: residual levels, Gaussian posterior",
        example={"width": 8, "multipliers": [1, 2], "blocks": 1, "channels": 2},
        paper="2112.10752",
        tags=("convolution",),
        known_failures={"check_time_and_state_matter": "an autoencoder knows no time"},
        data="digits",
    )
    reg.add(
        "objective",
        "autoencoder",
        f"{home}:AutoencoderLoss",
        summary="reconstruction and divergence of the posterior: trains a kl-autoencoder",
        paper="2112.10752",
        within="digits-autoencoder",
    )
    reg.add(
        "codec",
        "learned",
        f"{home}:LearnedCodec",
        summary="latents of a frozen autoencoder of another run, scaled to unit variance",
        paper="2307.08698",
        within="digits-autoencoder",
        known_failures={"check_round_trip": "an autoencoder loses something by design"},
    )
    reg.recipe(
        "digits-autoencoder",
        f"{recipes}/digits-autoencoder.yaml",
        summary="a KL autoencoder of digits, 16 x 16 pixels to 4 x 4 x 4 numbers",
        paper="2112.10752",
    )
    reg.recipe(
        "lfm",
        f"{recipes}/lfm.yaml",
        summary="latent flow matching on digits: autoencoder, then a class-conditional flow in its latents",
        paper="2307.08698",
    )
    reg.recipe(
        "lfm-pixels",
        f"{recipes}/lfm-pixels.yaml",
        summary="the same network on the pixels themselves, for as long",
        paper="2307.08698",
    )
    reg.recipe(
        "lfm-imagenet-dit-b-2",
        f"{recipes}/lfm-imagenet-dit-b-2.yaml",
        summary="latent flow matching on ImageNet-256 with DiT-B/2 at the paper's size",
        paper="2307.08698",
    )
