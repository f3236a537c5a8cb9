"""FELLE: a language model of frames, each drawn by flow matching."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

HOME, PAPER = "flowloom_audio.felle", "2502.11128"


def register(reg: Registrar) -> None:
    """Add the language model, its objective and solver, and what judges them."""
    reg.add(
        "dataset",
        "frame-chain",
        f"{HOME}:FrameChain",
        summary="chains of frames of a known law: near the frame before, and of two modes",
        example={"bands": 4, "frames": 6, "n": 64},
    )
    reg.add(
        "renderer",
        "frames",
        f"{HOME}:FramePictures",
        summary="continuous frames as colours, generated beside real",
        data="frame-chain",
    )
    reg.add(
        "model",
        "frame-language-model",
        f"{HOME}:FrameLanguageModel",
        summary="a causal language model of continuous frames, with a flow-matching head for each",
        example={"width": 16, "depth": 1, "heads": 2, "head_depth": 1},
        paper=PAPER,
        within="felle-chain",
        known_failures={
            "check_time_and_state_matter": "times belong to its heads, which the objective asks",
            "check_every_parameter_learns": "heads are asked by the objective alone",
        },
    )
    reg.add(
        "objective",
        "frame-matching",
        f"{HOME}:FrameMatching",
        summary="flow matching frame by frame, from the frame before",
        paper=PAPER,
        within="felle-chain",
    )
    reg.add(
        "solver",
        "frame-by-frame",
        f"{HOME}:FrameByFrame",
        summary="frames drawn one after the other, each by a small solve, with remembered keys",
        paper=PAPER,
        within="felle-chain",
    )
    reg.add(
        "metric",
        "increments",
        f"{HOME}:Increments",
        summary="energy distance of changes from frame to frame, and whether frames drift",
        data="frame-chain",
    )
    reg.add(
        "score",
        "pace",
        f"{HOME}:Pace",
        summary="real-time factor, and seconds until the first sound",
        within="felle-toy",
        tags=("heavy",),
        known_failures={"check_is_deterministic": "it reads the clock"},
    )
    recipes = "flowloom_audio:recipes"
    for name, summary in (
        ("felle-chain", "frames of a known law, drawn from the frame before or from a Gaussian"),
        ("felle-bands", "frames of 16 bands, drawn coarse to fine or at once"),
        ("felle-toy", "synthetic words, frame after frame, in five minutes"),
        ("felle-digits", "spoken digits, frame after frame, from text and a prompt"),
        ("felle-librispeech", "FELLE at the paper's size"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=PAPER)
