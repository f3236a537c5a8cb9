"""DiFlow-TTS: discrete flow matching of factorised speech tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

_PAPER = "2509.09631"


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_audio.diflow", "flowloom_audio:recipes"
    reg.add(
        "dataset",
        "factorised-tokens",
        f"{home}:FactorisedTokens",
        summary="tokens of prosody, content and acoustics of a known law, with text and a prompt",
        example={"n": 64},
        paper=_PAPER,
    )
    reg.add(
        "model",
        "factorised-denoiser",
        f"{home}:FactorisedDenoiser",
        summary="posteriors of prosody and acoustic tokens by heads of their own, given text and a prompt",
        paper=_PAPER,
        example={"content": 1, "width": 16, "depth": 1, "heads": 2, "embed": 8},
        within="diflow-tokens",
    )
    reg.add(
        "objective",
        "factorised-flow",
        f"{home}:FactorisedFlow",
        summary="discrete flow matching of prosody and acoustics, beside a mapper of text to content",
        paper=_PAPER,
        example={"content": 1, "embed": 8, "width": 16, "hidden": 16, "heads": 2},
        within="diflow-tokens",
        known_failures={"check_exact_answers_have_no_loss": "durations and content are learned as well"},
    )
    reg.add(
        "solver",
        "token-by-token",
        f"{home}:TokenByToken",
        summary="masked tokens one after another, a network call each: autoregression by a discrete flow",
        paper="2110.02037",
        within="diflow-tokens",
        tags=("heavy",),
    )
    reg.add(
        "metric",
        "streams-judge",
        f"{home}:StreamsJudge",
        summary="speaker, text and agreement of factorised tokens, by their known law",
        paper=_PAPER,
        data="factorised-tokens",
    )
    reg.add(
        "renderer",
        "streams",
        f"{home}:StreamPictures",
        summary="streams of tokens as stripes of colour, generated beside real",
        data="factorised-tokens",
    )
    reg.recipe(
        "diflow-tokens",
        f"{recipes}/diflow-tokens.yaml",
        summary="factorised tokens of a known law from text and a prompt",
        paper=_PAPER,
    )
    reg.recipe(
        "diflow-digits",
        f"{recipes}/diflow-digits.yaml",
        summary="text and a prompt to spoken digits, by discrete flow matching of codec tokens",
        paper=_PAPER,
    )
    reg.recipe(
        "diflow-libritts",
        f"{recipes}/diflow-libritts.yaml",
        summary="DiFlow-TTS at the paper's scale",
        paper=_PAPER,
    )
