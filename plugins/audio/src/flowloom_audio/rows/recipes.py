"""Recipes of speech."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_audio:recipes"
    reg.recipe("speak-digits", f"{home}/speak-digits.yaml", summary="text and a prompt to spoken digits")
    reg.recipe(
        "speechflow-digits",
        f"{home}/speechflow-digits.yaml",
        summary="generative pre-training on untranscribed digits",
    )
    reg.recipe(
        "speechflow-enhance",
        f"{home}/speechflow-enhance.yaml",
        summary="pre-trained speech, fine-tuned to enhancement",
    )
    reg.recipe(
        "speechflow-speak",
        f"{home}/speechflow-speak.yaml",
        summary="pre-trained speech, fine-tuned to synthesis",
    )
    reg.recipe(
        "speechflow-librilight",
        f"{home}/speechflow-librilight.yaml",
        summary="generative pre-training of speech at the paper's size (many GPUs)",
        paper="2310.16338",
    )
    reg.recipe("enhance-digits", f"{home}/enhance-digits.yaml", summary="noisy digits to clean ones")
    reg.recipe(
        "uniflow-digits",
        f"{home}/uniflow-digits.yaml",
        summary="enhancement, dereverberation and extraction of a voice by one network",
    )
    reg.recipe(
        "uniflow-toy",
        f"{home}/uniflow-toy.yaml",
        summary="three front-end jobs on synthetic words by one network, or by one each",
    )
    reg.recipe(
        "uniflow-one-step",
        f"{home}/uniflow-one-step.yaml",
        summary="three front-end jobs in one evaluation by MeanFlow (needs flowloom-fewstep)",
    )
    reg.recipe("vocode-digits", f"{home}/vocode-digits.yaml", summary="log-mel frames to waveforms, fast")
    reg.recipe(
        "periodwave-digits",
        f"{home}/periodwave-digits.yaml",
        summary="log-mel frames to waveforms, sample by sample (PeriodWave)",
        paper="2408.07547",
    )
    reg.recipe(
        "toy-vocoder", f"{home}/toy-vocoder.yaml", summary="log-mel frames of synthetic words to sound"
    )
    reg.recipe(
        "periodwave-bands",
        f"{home}/periodwave-bands.yaml",
        summary="waveforms in wavelet bands, the lowest first, in ten minutes",
    )
    reg.recipe(
        "periodwave-libritts", f"{home}/periodwave-libritts.yaml", summary="PeriodWave at the paper's scale"
    )
    reg.recipe(
        "periodwave-toy",
        f"{home}/periodwave-toy.yaml",
        summary="waveforms folded at five periods or at one, in eight minutes",
    )
    reg.recipe("toy-speech", f"{home}/toy-speech.yaml", summary="synthetic words, in two minutes")
