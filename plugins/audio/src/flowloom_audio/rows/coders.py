"""Coders of waveforms that are trained here, and the codec that they become."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_audio.coders", "flowloom_audio:recipes"
    reg.add(
        "model",
        "wave-autoencoder",
        f"{home}:WaveAutoencoder",
        summary="strided convolutions, a Gaussian posterior for every frame of sound",
        example={"width": 4, "strides": [4, 8], "latent": 4},
        paper="2402.04825",
        tags=("convolution",),
        known_failures={"check_time_and_state_matter": "a coder knows no time"},
        data="toy-speech",
    )
    reg.add(
        "model",
        "wave-quantiser",
        f"{home}:WaveQuantiser",
        summary="strided convolutions and residual vector quantisation: sound as tokens",
        example={"width": 4, "strides": [4, 8], "latent": 4, "books": 2, "entries": 8},
        paper="2107.03312",
        tags=("convolution",),
        known_failures={
            "check_time_and_state_matter": "a coder knows no time",
            "check_every_parameter_learns": "tokens pass no gradient; training passes it by (learn)",
        },
        data="toy-speech",
    )
    reg.add(
        "objective",
        "sound-coding",
        f"{home}:SoundCoding",
        summary="spectra in several resolutions and the cost of the bottleneck: trains coders of sound",
        paper="2210.13438",
        within="toy-coder",
        tags=("heavy",),
        known_failures={
            "check_follows_its_generator": "codebooks follow every batch that is asked of them",
            "check_state_round_trip": "codebooks follow every batch that is asked of them",
        },
    )
    reg.add(
        "codec",
        "learned-sound",
        "flowloom_audio.codecs:LearnedSound",
        summary="tokens or latents of a frozen coder of another run",
        paper="2112.10752",
        within="toy-coder",
        tags=("heavy",),
        known_failures={"check_round_trip": "a coder loses something by design"},
    )
    reg.recipe(
        "toy-coder",
        f"{recipes}/toy-coder.yaml",
        summary="synthetic words as tokens: a residual quantiser",
        paper="2107.03312",
    )
    reg.recipe(
        "code-digits",
        f"{recipes}/code-digits.yaml",
        summary="spoken digits as tokens, 62.5 frames a second: a residual quantiser",
        paper="2107.03312",
    )
    reg.recipe(
        "latent-speech",
        f"{recipes}/latent-speech.yaml",
        summary="synthetic words in the latents of a waveform autoencoder, in two stages",
        paper="2402.04825",
    )
